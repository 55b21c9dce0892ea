//! OTLP/gRPC over real sockets: what is taken and how it arrives, and every answer to what is not.

mod receiver_support;

use receiver_support::*;
use refusal_collector::otlp::Signal;
use refusal_collector::payload::Message;
use refusal_collector::telemetry::own::Transport;
use tonic::Code;

#[tokio::test]
async fn an_uncompressed_frame_is_handed_on_as_it_came() {
    let stage = Setup::default().start().await;
    let mut client = Http2::connect(stage.grpc()).await;
    let message = spans(3, 10);
    let answer = client.export(Signal::Traces, &[], pieces([frame(0, &message)])).await;
    assert_eq!(answer.status().code(), Code::Ok);
    assert_eq!(answer.body, [0; 5][..], "one empty message");
    let taken = stage.fake.taken();
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].message, Message::Framed(frame(0, &message)));
    assert_eq!((taken[0].signal, taken[0].arrived.clone()), (Signal::Traces, None));
    assert_eq!(stage.budget.used(), message.len() + 5);
    let account = stage.account(Transport::Grpc, Signal::Traces);
    assert_eq!((account.accepted.requests, account.accepted.items), (1, 3));
    drop(taken);
    stage.assert_budget_is_free().await;
    stage.shutdown().await;
}
