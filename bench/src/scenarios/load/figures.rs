//! The figures of a round of load, as a row.

use deploy::tiers::Tier;

use super::{Run, approximate};
use crate::scenarios::crowd::{Round, ratio};
use crate::scenarios::meter::{Counted, Meter};
use crate::scenarios::row::Row;
use crate::scenarios::verdict::{self, Evidence};
use crate::scenarios::workload::{Class, Pace};

impl Run<'_> {
    /// What is told of a round.
    pub(super) fn row(&self, round: &Round, pace: Pace, load_processes: usize) -> Row {
        let meter = &round.meter;
        let mut row = Row::new(self.name);
        for (key, value) in &self.settings {
            row.put(key, *value);
        }
        row.put("payload", self.options.payload);
        let per_s = |count: u64| approximate(count) / round.seconds;
        let (sent, acked) = (meter.all(|of| of.sent), meter.all(|of| of.acked));
        if let Pace::Open { per_s } = pace {
            row.put("offered_per_s", per_s);
        }
        row.put("sent_per_s", per_s(sent));
        row.put("acked_per_s", per_s(meter.all(|of| of.acked_within)));
        let delivered = meter.all(|of| of.delivered_within);
        row.put("deliveries_per_s", per_s(delivered));
        row.put_exactly("acked_per_offered", ratio(acked, sent));
        let (p50, p99, p999) = self.latency(meter);
        row.put("p50_us", p50);
        row.put("p99_us", p99);
        row.put("p999_us", p999);
        latencies(&mut row, meter, self.name == "mixed");
        row.put("lost", meter.lost);
        row.put("duplicated", meter.duplicated);
        row.put("out_of_order", meter.out_of_order);
        row.put("failed", meter.all(|of| of.refused));
        row.put("repeated", meter.repeated);
        row.put("pulled", meter.pulled);
        if let Some(why) = &meter.first_refusal {
            row.put("first_refusal", why.as_str());
        }
        let late = matches!(pace, Pace::Open { .. }).then(|| meter.late.at(0.99));
        if let Some(late) = late {
            row.put("send_late_p99_us", late);
            row.put("held_up", meter.held_up);
        }
        usage(&mut row, round, delivered, load_processes);
        let evidence = Evidence {
            late_p99_us: late,
            cpu_us_per_delivery: (delivered > 0).then(|| ratio(round.load_cpu_us, delivered)),
            probe_cpu_us_per_delivery: self.options.probe_cpu_us,
        };
        if let Some(why) = verdict::void(&evidence) {
            row.make_void(why);
        }
        row
    }
}

/// Acks and deliveries apart, and in a mixed swarm the classes.
fn latencies(row: &mut Row, meter: &Meter, by_class: bool) {
    let chat = meter.of(Class::Chat);
    row.put("ack_p50_us", chat.ack.at(0.5));
    row.put("ack_p99_us", chat.ack.at(0.99));
    row.put("delivery_p50_us", chat.delivery.at(0.5));
    row.put("delivery_p99_us", chat.delivery.at(0.99));
    if by_class {
        let (command, telemetry) = (meter.of(Class::Command), meter.of(Class::Telemetry));
        row.put("command_p50_us", command.delivery.at(0.5));
        row.put("command_p99_us", command.delivery.at(0.99));
        row.put("telemetry_p50_us", telemetry.delivery.at(0.5));
        row.put("telemetry_p99_us", telemetry.delivery.at(0.99));
        let seen: fn(&Counted) -> u64 = |of| of.delivered_within;
        row.put("stored_deliveries", meter.stored(seen));
        row.put("telemetry_deliveries", seen(telemetry));
    }
}

/// The CPU of server and load apart, in cores.
fn usage(row: &mut Row, round: &Round, delivered: u64, load_processes: usize) {
    let cores = |cpu_us: u64| approximate(cpu_us) / 1e6 / round.seconds;
    row.put("load_processes", load_processes);
    row.put_exactly("load_cores", cores(round.load_cpu_us));
    row.put_exactly(
        "load_cpu_us_per_delivery",
        ratio(round.load_cpu_us, delivered),
    );
    let server_us: u64 = round.server_cpu_us.iter().map(|(_, us)| us).sum();
    if server_us == 0 {
        return;
    }
    row.put_exactly("server_cores", cores(server_us));
    for (tier, us) in &round.server_cpu_us {
        row.add_exactly(tier_key(*tier), cores(*us));
    }
    row.put(
        "deliveries_per_server_core_s",
        approximate(delivered) / (approximate(server_us) / 1e6),
    );
}

const fn tier_key(tier: Tier) -> &'static str {
    match tier {
        Tier::Gateway => "gateway_cores",
        Tier::Logic => "logic_cores",
        Tier::Router => "router_cores",
        Tier::Store => "store_cores",
        Tier::Bridge => "bridge_cores",
        Tier::Mock => "mock_cores",
    }
}
