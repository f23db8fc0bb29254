//! A file for each provider.

pub(super) mod completions;

pub(super) mod ark;
pub(super) mod compatible;
pub(super) mod coze;
pub(super) mod dashscope;
pub(super) mod dashscope_native;
pub(super) mod openai;
pub(super) mod qianfan;
