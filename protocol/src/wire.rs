//! The generated wire types: `im.v1` here, the messages between tiers in [`internal`].
//!
//! Generated from `protocol/proto` by `tests/bootstrap.rs` and committed, so that nobody who links
//! this crate needs a generator; that test fails when they differ.

#![allow(missing_docs, reason = "the .proto files are the documentation")]
#![allow(unreachable_pub, reason = "generated")]
#![allow(
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    reason = "generated"
)]

mod im {
    pub mod v1 {
        include!("generated/im.v1.rs");
    }
    pub mod internal {
        pub mod v1 {
            include!("generated/im.internal.v1.rs");
        }
    }
}

pub use im::internal::v1 as internal;
pub use im::v1::*;
