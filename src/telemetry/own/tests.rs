use super::*;
use crate::config::model::Sizer;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

fn exporter(own: &Own) -> Arc<ExporterMetrics> {
    own.exporter(&ComponentId::new("otlp_grpc"), Signal::Traces)
}

#[test]
fn the_same_id_and_signal_is_the_same_account() {
    let own = Own::new();
    exporter(&own).accept(Amount::request(3, 300));
    exporter(&own.clone()).accept(Amount::request(4, 400));
    let snapshot = own.snapshot();
    assert_eq!(snapshot.exporters.len(), 1);
    assert_eq!(snapshot.exporters[0].accepted, 7);

    let grpc = own.receiver(&ComponentId::new("otlp"), Transport::Grpc, Signal::Traces);
    own.receiver(&ComponentId::new("otlp"), Transport::Grpc, Signal::Traces).accepted(5);
    own.receiver(&ComponentId::new("otlp"), Transport::Http, Signal::Traces).accepted(6);
    assert_eq!(grpc.snapshot().accepted, OutcomeSnapshot { requests: 1, items: 5 });
    assert_eq!(own.snapshot().receivers.len(), 2);
}

#[test]
fn every_ending_is_told_and_the_account_balances_after_each_step() {
    let own = Own::new();
    let exporter = exporter(&own);
    let steps: [&dyn Fn(); 12] = [
        &|| exporter.accept(Amount::request(10, 1000)),
        &|| exporter.accept(Amount::request(20, 2000)),
        &|| exporter.restore(Amount::request(7, 700)),
        &|| exporter.enqueue_failed(99),
        &|| exporter.start(Amount::request(10, 1000)),
        &|| exporter.send_failed(10),
        &|| exporter.requeue(Amount::request(10, 1000)),
        &|| exporter.start(Amount::request(10, 1000)),
        &|| exporter.rejected(RejectReason::PartialSuccess, Amount::part(4, 400)),
        &|| exporter.exported(Amount::request(6, 600)),
        &|| exporter.dropped_from_queue(DropReason::Quarantined, Amount::request(7, 700)),
        &|| exporter.accept_in_flight(Amount::request(1, 100)),
    ];
    for step in steps {
        step();
        assert!(exporter.snapshot().balances());
    }
    exporter.dropped(DropReason::Shutdown, Amount::request(1, 100));

    let end = exporter.snapshot();
    assert!(end.balances());
    assert_eq!((end.accepted, end.restored, end.exported), (31, 7, 6));
    assert_eq!((end.rejected_total(), end.dropped_total()), (4, 8));
    assert_eq!(end.rejected_for(RejectReason::PartialSuccess), 4);
    assert_eq!(end.dropped_for(DropReason::Quarantined), 7);
    assert_eq!(end.queued, Amount::request(20, 2000));
    assert_eq!(end.in_flight, Amount::default());
    assert_eq!((end.send_failed, end.enqueue_failed), (10, 99));
}

#[test]
fn the_queue_is_shown_in_its_own_unit() {
    let own = Own::new();
    let exporter = exporter(&own);
    assert_eq!(exporter.snapshot().queue, None);
    exporter.accept(Amount::request(10, 1000));
    for (sizer, size) in [(Sizer::Requests, 1), (Sizer::Items, 10), (Sizer::Bytes, 1000)] {
        exporter.set_queue_capacity(5000, sizer);
        assert_eq!(exporter.snapshot().queue, Some(QueueSnapshot { size, capacity: 5000, sizer }));
    }
}

#[test]
fn an_account_that_several_threads_move_balances_in_every_snapshot() {
    let own = Own::new();
    let exporter = exporter(&own);
    let is_done = AtomicBool::new(false);
    let worker = |seed: u64| {
        for n in 0..20_000_u64 {
            let amount = Amount::request((n % 7) as usize, 100);
            exporter.accept(amount);
            exporter.start(amount);
            match (n + seed) % 4 {
                0 => exporter.exported(amount),
                1 => exporter.rejected(RejectReason::Invalid, amount),
                2 => exporter.dropped(DropReason::RetryExhausted, amount),
                _ => {
                    exporter.requeue(amount);
                    exporter.dropped_from_queue(DropReason::Shutdown, amount);
                }
            }
        }
    };
    let snapshots = std::thread::scope(|scope| {
        let workers = [1, 2, 3].map(|seed| scope.spawn(move || worker(seed)));
        let watcher = scope.spawn(|| {
            let mut snapshots = 0;
            while !is_done.load(Relaxed) || snapshots == 0 {
                assert!(exporter.snapshot().balances());
                snapshots += 1;
            }
            snapshots
        });
        for worker in workers {
            worker.join().unwrap();
        }
        is_done.store(true, Relaxed);
        watcher.join().unwrap()
    });
    assert!(snapshots > 0);
    let end = exporter.snapshot();
    assert!(end.balances());
    assert_eq!(end.accepted, 3 * (0..20_000_u64).map(|n| n % 7).sum::<u64>());
    assert_eq!((end.queued, end.in_flight), (Amount::default(), Amount::default()));
}

#[test]
fn a_malformed_request_is_a_failed_one() {
    let own = Own::new();
    let receiver = own.receiver(&ComponentId::new("otlp"), Transport::Http, Signal::Logs);
    receiver.malformed();
    receiver.refused(3);
    let snapshot = receiver.snapshot();
    assert_eq!((snapshot.malformed_requests, snapshot.failed.requests), (1, 1));
    assert_eq!(snapshot.refused, OutcomeSnapshot { requests: 1, items: 3 });
}

#[test]
fn the_budget_is_told_once_it_is_known() {
    let own = Own::new();
    assert_eq!(own.snapshot().budget, None);
    let budget = Budget::new(1000);
    own.show_budget(budget.clone());
    let permit = budget.try_acquire(300);
    assert_eq!(own.snapshot().budget, Some(BudgetSnapshot { used: 300, capacity: 1000 }));
    drop(permit);
    assert_eq!(own.snapshot().budget, Some(BudgetSnapshot { used: 0, capacity: 1000 }));
}
