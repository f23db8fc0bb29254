//! Whether a run says anything of the server, or only of the load generator: then it is *void*. Pure.

/// An open-loop send may be so late for want of the generator's own CPU, in microseconds: one in a
/// hundred may be later.
pub const LATE_P99_US_MAX: u64 = 1_000;

/// How much more CPU a delivery may cost the generator than in the limit probe, in percent.
pub const CPU_ABOVE_PROBE_PERCENT_MAX: f64 = 20.0;

/// What is known of the generator in one run.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Evidence {
    /// How late the sends of an open loop were that nothing but the generator held up; `None` in a
    /// closed loop.
    pub late_p99_us: Option<u64>,
    /// The CPU of all load processes together for each delivery, in microseconds; `None` when
    /// nothing was delivered.
    pub cpu_us_per_delivery: Option<f64>,
    /// The same in the limit probe, when it is known.
    pub probe_cpu_us_per_delivery: Option<f64>,
}

/// Why the run is void; `None`: it is not.
#[must_use]
pub fn void(evidence: &Evidence) -> Option<String> {
    if let Some(late) = evidence.late_p99_us.filter(|late| *late > LATE_P99_US_MAX) {
        return Some(format!(
            "the load generator had no CPU to send in time: one send in a hundred was {late} us \
             late or more, and {LATE_P99_US_MAX} are allowed"
        ));
    }
    if let (Some(used), Some(probe)) = (
        evidence.cpu_us_per_delivery,
        evidence.probe_cpu_us_per_delivery,
    ) && probe > 0.0
    {
        let above = (used / probe - 1.0) * 100.0;
        if above > CPU_ABOVE_PROBE_PERCENT_MAX {
            return Some(format!(
                "the load generator used {used:.2} us of CPU for each delivery, {above:.0} % more \
                 than in the limit probe, and {CPU_ABOVE_PROBE_PERCENT_MAX} % are allowed"
            ));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sends_that_are_late_make_a_run_void() {
        let late = |us| Evidence {
            late_p99_us: Some(us),
            ..Evidence::default()
        };
        assert_eq!(void(&late(1_000)), None);
        assert!(void(&late(1_001)).unwrap().contains("1001 us late"));
        assert_eq!(void(&Evidence::default()), None);
    }

    #[test]
    fn a_generator_that_costs_more_than_in_the_probe_makes_a_run_void() {
        let costs = |used, probe| Evidence {
            cpu_us_per_delivery: Some(used),
            probe_cpu_us_per_delivery: probe,
            ..Evidence::default()
        };
        assert_eq!(void(&costs(1.2, Some(1.0))), None);
        assert!(void(&costs(1.3, Some(1.0))).unwrap().contains("30 %"));
        assert_eq!(void(&costs(9.0, None)), None);
        assert_eq!(void(&costs(9.0, Some(0.0))), None);
    }
}
