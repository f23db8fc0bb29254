//! Who does a step: the robot that can, that has not failed before, and that has least to do; of
//! several the first in the prompt.

use std::collections::BTreeSet;

use crate::mock::prompt::Prompt;

use super::{Chosen, Reason};

/// How long a step may take a robot that has nothing else to do, in seconds.
const TIME_LIMIT_S: [(&str, u64); 4] = [
    ("lift", 60),
    ("carry", 120),
    ("inspect", 180),
    ("charge", 180),
];

/// The time limit of an action without one of its own, in seconds.
const TIME_LIMIT_OTHERS_S: u64 = 120;

/// The longest time limit, in seconds.
const TIME_LIMIT_S_MAX: u64 = 1800;

pub(super) struct Crew<'a> {
    prompt: &'a Prompt,
    failed: BTreeSet<&'a str>,
    /// How long each robot has to do already, in seconds.
    busy_s: Vec<u64>,
    /// How many steps each has.
    steps: Vec<usize>,
}

impl<'a> Crew<'a> {
    pub(super) fn new(prompt: &'a Prompt) -> Self {
        let failed = prompt.progress.iter().flat_map(|progress| &progress.failed);
        Self {
            prompt,
            failed: failed.map(|step| step.robot.as_str()).collect(),
            busy_s: vec![0; prompt.robots.len()],
            steps: vec![0; prompt.robots.len()],
        }
    }

    pub(super) fn name(&self, robot: usize) -> &str {
        &self.prompt.robots[robot].name
    }

    /// The robot for one step.
    pub(super) fn pick(&self, action: &'static str, chosen: &Chosen) -> Result<usize, Reason> {
        let able = self.able(action, chosen)?;
        able.into_iter()
            .min_by_key(|robot| {
                let failed = self.failed.contains(self.name(*robot));
                (failed, self.steps[*robot], *robot)
            })
            .ok_or(Reason::NoRobot(action))
    }

    /// The robots that each do it: those that are named, or so many, or every one that can.
    pub(super) fn all(&self, action: &'static str, chosen: &Chosen) -> Result<Vec<usize>, Reason> {
        let mut able = self.able(action, chosen)?;
        match chosen {
            Chosen::Any | Chosen::Every => {}
            Chosen::Count(wanted) if *wanted > able.len() => {
                return Err(Reason::NoRobot(action));
            }
            Chosen::Count(wanted) => able.truncate(*wanted),
            Chosen::Named(named) => {
                let unable = named.iter().find(|robot| !able.contains(robot));
                if let Some(robot) = unable {
                    return Err(self.cannot(*robot, action));
                }
            }
        }
        Ok(able)
    }

    /// Those of the named robots that can, or whoever can.
    pub(super) fn those_who_can(&self, action: &'static str, chosen: &Chosen) -> Chosen {
        match self.able(action, chosen) {
            Ok(_) => chosen.clone(),
            Err(_) => Chosen::Any,
        }
    }

    /// The robot has one more step; how long it may take. A robot works through its steps one by
    /// one, and the time of those before runs too.
    pub(super) fn occupy(&mut self, robot: usize, action: &str) -> u64 {
        let own = TIME_LIMIT_S.iter().find(|(name, _)| *name == action);
        self.busy_s[robot] += own.map_or(TIME_LIMIT_OTHERS_S, |(_, limit_s)| *limit_s);
        self.steps[robot] += 1;
        self.busy_s[robot].min(TIME_LIMIT_S_MAX)
    }

    /// The robots that can, of those that may; at least one.
    fn able(&self, action: &'static str, chosen: &Chosen) -> Result<Vec<usize>, Reason> {
        let can = |robot: &usize| {
            let mut actions = self.prompt.robots[*robot].actions.iter();
            actions.any(|declared| declared.name == action)
        };
        let able: Vec<usize> = (0..self.prompt.robots.len())
            .filter(|robot| match chosen {
                Chosen::Any | Chosen::Every | Chosen::Count(_) => true,
                Chosen::Named(named) => named.contains(robot),
            })
            .filter(can)
            .collect();
        match (able.is_empty(), chosen) {
            (false, _) => Ok(able),
            (true, Chosen::Named(named)) if !named.is_empty() => Err(self.cannot(named[0], action)),
            (true, _) => Err(Reason::NoRobot(action)),
        }
    }

    fn cannot(&self, robot: usize, action: &'static str) -> Reason {
        let robot = self.name(robot).to_owned();
        Reason::RobotCannot { robot, action }
    }
}
