//! Lines that are read, and lines that are not.

use clap::CommandFactory as _;

use super::*;

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn commands_are_read_as_they_are_documented() {
    for line in [
        "swarm up --state /tmp/x --client-port 7443",
        "swarm up --advertise im-store=127.0.0.1:1 --advertise im-gateway-2=127.0.0.1:2",
        "swarm up --gateways 2 --logics 2 --routers 2 --stores 2 --redis redis://127.0.0.1",
        "swarm up --demo",
        "swarm up --demo --instruction x --json out.json",
        "swarm demo --instruction x --robots 12 --seed 7 --json out.json --state /tmp/x",
        "swarm chat demo --state /tmp/x",
        "swarm chat yard --create --as ana",
        "swarm history demo",
        "swarm group create yard --member lift-1 --member bo --as ana",
        "swarm group list --json --state /tmp/x",
        "swarm search yard 箱子 dock --sender bo --kind text --last 12h --limit 5 --json",
        "swarm group show yard --limit 0",
        "swarm group list --limit 5 --after g7 --as ana",
        "swarm robot list --limit 5 --after 7 --json --as ana",
        "swarm robot show lift-1 --state /tmp/x --json",
        "swarm sessions --limit 0 --json",
        "swarm cluster --json --as ana",
        "swarm audit --limit 5 --after 7",
        "swarm command list --limit 5 --json",
        "swarm group add yard lift-1 --role observer",
        "swarm group role yard bo owner",
        "swarm group set yard zone=B old=",
        "swarm group dissolve yard --yes",
        "swarm robots",
        "swarm command --as ana send sweep --group yard --within 5 --json",
        "swarm command send sweep --robots r1,r2 --arguments {} --no-wait",
        "swarm command status 018bcfe5-687b-829b-85dc-905096412341/1/1 --json",
        "swarm command cancel 018bcfe5-687b-829b-85dc-905096412341/1/1 --reason x",
        "swarm credential robot lift-1",
        "swarm provider check qwen --yes --price 0.8/2 --report r.md --config b.toml",
        "swarm provider list",
        "swarm estop --group yard --reason x --as ana",
        "swarm estop --fleet --wait 2 --state /tmp/x",
        "swarm estop status --state /tmp/x",
        "swarm estop release 018bcfe5-6800-7101-8101-010101010101 --as ana",
        "swarm reset --yes",
        "swarm backup b.tar --store mysql://im@db/im",
        "swarm restore b.tar --replace --yes --state /tmp/x",
        "swarm become-tier 17 /x/im-store",
    ] {
        if let Err(error) = Cli::try_parse_from(line.split(' ')) {
            panic!("{line}: {error}");
        }
    }
    for line in [
        "swarm",
        "swarm demo --robots 0",
        "swarm up --advertise im-store",
        "swarm credential king lift-1",
        "swarm estop --fleet --group yard",
        "swarm estop release",
        "swarm estop release 7",
        "swarm command send sweep",
        "swarm command send sweep --group yard --robots r1",
        "swarm command status yard",
    ] {
        assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
    }
}
