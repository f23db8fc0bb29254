//! What processes use of the machine: CPU and memory, as the system counts them under `/proc`.

use std::fs;

/// Clock ticks a second in `/proc/PID/stat`: fixed in Linux's interface to programs.
const TICKS_PER_S: u64 = 100;

/// Memory of a process in RAM, in bytes; `None` when it has ended.
#[must_use]
pub fn resident_bytes(pid: i32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    kilobytes(&status, "VmRSS:")
}

fn kilobytes(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find(|line| line.starts_with(key))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// CPU that a process has used since it began, in microseconds, in itself and in the system, with
/// that of its children that have ended; `None` when it has ended itself.
#[must_use]
pub fn cpu_us(pid: i32) -> Option<u64> {
    cpu_of(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn cpu_of(stat: &str) -> Option<u64> {
    // The name, in brackets, may have spaces and brackets of its own.
    let (_, after_name) = stat.rsplit_once(')')?;
    let fields = after_name.split_whitespace();
    let mut ticks = 0;
    // utime, stime, cutime, cstime: fields 14 to 17 of the line, of which two are before here.
    for field in fields.skip(11).take(4) {
        ticks += field.parse::<u64>().ok()?;
    }
    Some(ticks * (1_000_000 / TICKS_PER_S))
}

/// CPU used up to one moment: by some processes, and by this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cpu {
    those: Vec<(i32, u64)>,
    own_us: u64,
}

/// CPU used between two moments, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// By those processes together.
    pub those_us: u64,
    /// By this one.
    pub own_us: u64,
}

impl Cpu {
    /// Up to now.
    #[must_use]
    pub fn now(pids: &[i32]) -> Self {
        let those = pids.iter().filter_map(|pid| Some((*pid, cpu_us(*pid)?)));
        let own = i32::try_from(std::process::id()).ok().and_then(cpu_us);
        Self {
            those: those.collect(),
            own_us: own.unwrap_or_default(),
        }
    }

    /// What was used since an earlier moment. A process that has ended since counts nothing.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Used {
        let those = self.those.iter().map(|(pid, us)| {
            let before = earlier.those.iter().find(|(other, _)| other == pid);
            us.saturating_sub(before.map_or(0, |(_, us)| *us))
        });
        Used {
            those_us: those.sum(),
            own_us: self.own_us.saturating_sub(earlier.own_us),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_proc_are_read() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 7 3 20 0 2 0 9 1 2";
        assert_eq!(cpu_of(stat), Some(2_100_000));
        assert_eq!(cpu_of("7 (a"), None);
        let status = "Name:\tx\nVmPeak:\t  9 kB\nVmRSS:\t  12 kB\n";
        assert_eq!(kilobytes(status, "VmRSS:"), Some(12 * 1024));
    }

    #[test]
    fn this_process_uses_something_and_one_that_has_ended_nothing() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(resident_bytes(own).unwrap() > 0 && cpu_us(own).is_some());
        assert_eq!(resident_bytes(-1), None);
        let (before, after) = (
            Cpu {
                those: vec![(1, 10), (2, 10)],
                own_us: 5,
            },
            Cpu {
                those: vec![(2, 30), (3, 7)],
                own_us: 6,
            },
        );
        let used = after.since(&before);
        assert_eq!((used.those_us, used.own_us), (27, 1));
    }
}
