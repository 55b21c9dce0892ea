//! The enums of the vocabulary as numbers of `proto/refusal/v1/refusal.proto`: 0 is nothing, the rest stand in the order
//! of the vocabulary.

use super::Kind;
use crate::refusal::verdict::{Action, Actor, Billing, Category, Class, Delivery, Phase, Side};

/// A closed enum that has numbers.
pub trait Numbered: Copy + 'static {
    /// Its number.
    fn number(self) -> i32;

    /// The value with this number; `None` for 0 and for those of later versions.
    fn of_number(number: i32) -> Option<Self>;

    /// Its word in the vocabulary.
    fn word(self) -> &'static str;
}

macro_rules! numbered {
    ($($name:ident)*) => {
        $(impl Numbered for $name {
            fn number(self) -> i32 {
                self as i32 + 1
            }

            fn of_number(number: i32) -> Option<Self> {
                let index = usize::try_from(number).ok()?.checked_sub(1)?;
                $name::ALL.get(index).copied()
            }

            fn word(self) -> &'static str {
                self.as_str()
            }
        })*
    };
}

numbered! { Kind Class Category Actor Side Phase Delivery Billing Action }

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1 as proto;

    /// The name of each number in the protobuf, as the vocabulary spells it.
    macro_rules! assert_names {
        ($($name:ident is $proto:ident, $prefix:literal;)*) => {
            $(for value in $name::ALL {
                let in_proto = proto::$proto::try_from(value.number()).unwrap().as_str_name();
                let spelled = in_proto.strip_prefix($prefix).unwrap().to_lowercase();
                let name = value.as_str().rsplit('.').next().unwrap();
                assert_eq!(if spelled == "not_named" { "unspecified" } else { &spelled }, name);
                assert_eq!($name::of_number(value.number()), Some(*value));
            }
            let beyond = $name::ALL.len() as i32 + 1;
            assert!(proto::$proto::try_from(beyond).is_err(), "{} has values that the vocabulary has not", $prefix);
            assert_eq!([0, -1, beyond].map($name::of_number), [None, None, None]);)*
        };
    }

    #[test]
    fn numbers_are_those_of_the_protobuf() {
        assert_names! {
            Kind is Kind, "KIND_";
            Class is StopReasonClass, "STOP_REASON_CLASS_";
            Category is RefusalCategory, "REFUSAL_CATEGORY_";
            Actor is RefusalActor, "REFUSAL_ACTOR_";
            Side is RefusalSide, "REFUSAL_SIDE_";
            Phase is RefusalPhase, "REFUSAL_PHASE_";
            Delivery is RefusalDelivery, "REFUSAL_DELIVERY_";
            Billing is RefusalBilling, "REFUSAL_BILLING_";
            Action is RefusalAction, "REFUSAL_ACTION_";
        }
    }
}
