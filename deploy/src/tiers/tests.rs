//! What each process is told.

use super::*;
use crate::authority::TokenKind;
use crate::ports::PortOptions;

#[test]
fn each_process_is_told_where_it_is_and_whom_it_reaches() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::open(folder.path(), 1).unwrap();
    let counts = Counts {
        gateways: 2,
        ..Counts::ONE_EACH
    };
    let mut addresses = PortOptions::default().choose(0, counts).unwrap();
    let proxies = [("im-store", 9), ("im-gateway-2", 10)];
    let proxies = proxies.map(|(name, port)| (name.into(), ([127, 0, 0, 1], port).into()));
    addresses.advertised = proxies.into();
    let wiring = Wiring {
        data: "/data".into(),
        media: crate::media::MediaPlace::default(),
        planner_token: authority.token(TokenKind::Planner, PLANNER, 1).unwrap(),
        authority: &authority,
        database: "mysql://im@db/im".into(),
        registry: None,
        model: ModelChoice::Mock,
        addresses: addresses.clone(),
    };
    let told = |tier, number, key: &str| {
        let environment = wiring.environment(Instance { tier, number });
        let found = environment.into_iter().find(|(its, _)| its == key);
        found.unwrap_or_else(|| panic!("{key}")).1
    };
    let url = told(Tier::Store, 0, "IM_STORE__DATABASE__URL");
    assert_eq!(url, "mysql://im@db/im");
    let second = addresses.further["im-gateway-2"];
    let listen = told(Tier::Gateway, 1, "IM_GATEWAY__LISTEN__ADDRESS");
    assert_eq!(listen, second.listens.to_string());
    let admin = told(Tier::Gateway, 1, "IM_GATEWAY__ADMIN__LISTEN");
    assert_eq!(admin, second.admin.to_string());
    let http = told(Tier::Gateway, 1, "IM_GATEWAY__HTTP__LISTEN");
    assert_eq!(Some(http), second.http.map(|http| http.to_string()));
    let http = told(Tier::Gateway, 0, "IM_GATEWAY__HTTP__LISTEN");
    assert_eq!(http, addresses.http.to_string());
    let reaches = told(Tier::Bridge, 0, "LLM_BRIDGE__SERVER__ADDRESS");
    assert_eq!(reaches, format!("{},127.0.0.1:10", addresses.clients));
    let listen = told(Tier::Store, 0, "IM_STORE__LISTEN__ADDRESS");
    assert_eq!(listen, addresses.store.to_string());
    let reaches = told(Tier::Logic, 0, "IM_LOGIC__LINKS__STORE");
    assert_eq!(reaches, "127.0.0.1:9");
    let reaches = told(Tier::Logic, 0, "IM_LOGIC__LINKS__ROUTER");
    assert_eq!(reaches, addresses.router.to_string());
    let all = Instance::all(&Tier::ALL, addresses.counts());
    assert!(all.iter().any(|its| its.to_string() == "im-gateway-2"));
}
