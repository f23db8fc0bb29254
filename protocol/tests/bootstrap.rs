//! Keeps the generated wire types equal to the `.proto` files.
//!
//! `UPDATE_GENERATED=1 cargo test -p protocol --test bootstrap` writes them anew.

use std::path::Path;

#[test]
fn generated_code_is_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let proto = root.join("proto");
    let files = [
        "im/v1/estop.proto",
        "im/v1/card.proto",
        "im/v1/session.proto",
        "im/v1/registry.proto",
        "im/v1/message.proto",
        "im/v1/group.proto",
        "im/v1/command.proto",
        "im/v1/media.proto",
        "im/v1/watch.proto",
        "im/v1/credential.proto",
        "im/internal/v1/internal.proto",
        "im/internal/v1/watch.proto",
    ];
    let descriptors = protox::compile(files, [&proto]).expect("the .proto files compile");
    let out = std::env::temp_dir().join(format!("im-bootstrap-{}", std::process::id()));
    std::fs::create_dir_all(&out).unwrap();
    prost_build::Config::new()
        .bytes(["."])
        .out_dir(&out)
        .compile_fds(descriptors)
        .expect("the wire types are generated");

    let committed = root.join("src/generated");
    #[allow(clippy::disallowed_methods, reason = "a switch of this test alone")]
    let update = std::env::var("UPDATE_GENERATED").is_ok();
    for name in ["im.v1.rs", "im.internal.v1.rs"] {
        let fresh = std::fs::read_to_string(out.join(name)).unwrap();
        if update {
            std::fs::write(committed.join(name), &fresh).unwrap();
        }
        let kept = std::fs::read_to_string(committed.join(name)).unwrap_or_default();
        assert!(
            fresh == kept,
            "{name} is stale: run UPDATE_GENERATED=1 cargo test -p protocol"
        );
    }
    std::fs::remove_dir_all(&out).unwrap();
}
