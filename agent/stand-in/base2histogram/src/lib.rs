//! Power-of-two histograms for openraft's statistics.
//!
//! openraft counts batch sizes and latencies in histograms of the crate
//! `base2histogram`. The published crate fills tables of some 26 MB on first
//! use, most of them for resolutions nobody asks for; an agent that has to idle
//! in a few megabytes cannot afford them. This crate has the same name and the
//! same signatures for the part openraft calls, and stands in its place by
//! `[patch.crates-io]`. It holds no table at all: a histogram is one counter
//! per power of two, up to the largest value seen.
//!
//! What it gives up is resolution: an estimate can be wrong by the width of its
//! bucket, a factor of two, where the published crate divides each power of two
//! further. The statistics are for people reading a report, and nothing in the
//! consensus depends on them.

mod chart;
mod histogram;
mod percentiles;

pub use chart::{AsciiChart, DetailedDisplay};
pub use histogram::Histogram;
pub use percentiles::PercentileStats;
