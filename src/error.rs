//! The errors of the crate: each names the operation, what was wrong with which shapes, and what to do about it.

use std::path::PathBuf;

/// What every fallible function of the crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong. Nothing in the crate panics instead.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Shapes that do not fit the operation or each other.
    #[error("{op}: {what}")]
    Shape {
        /// The operation.
        op: &'static str,
        /// The shapes found, the shapes wanted, and the remedy.
        what: String,
    },
    /// An element type that the operation does not take.
    #[error("{op}: {what}")]
    DType {
        /// The operation.
        op: &'static str,
        /// The types found and wanted.
        what: String,
    },
    /// An attribute outside its range, such as a stride of zero.
    #[error("{op}: {what}")]
    Argument {
        /// The operation.
        op: &'static str,
        /// The value found and the range allowed.
        what: String,
    },
    /// Tensors that live on different devices.
    #[error("{op}: {what}")]
    DeviceMismatch {
        /// The operation.
        op: &'static str,
        /// The devices met.
        what: String,
    },
    /// The operation has no kernel for this device. Nothing falls back to another device by itself.
    #[error("{op} has no kernel on {device}: {what}")]
    Unsupported {
        /// The operation.
        op: &'static str,
        /// The device.
        device: String,
        /// The remedy.
        what: String,
    },
    /// A device that is not there: no driver, no adapter, no such ordinal.
    #[error("no device {device}: {why}")]
    NoDevice {
        /// The device asked for.
        device: String,
        /// Why it cannot be had.
        why: String,
    },
    /// An allocation that the device refused.
    #[error("{device} is out of memory: {bytes} bytes for {what}")]
    OutOfMemory {
        /// The device.
        device: String,
        /// Bytes asked for.
        bytes: usize,
        /// What they were for.
        what: String,
    },
    /// A limit of the device that the work cannot be cut to fit.
    #[error("{op} needs {need} of {limit}, the device has {have}: {what}")]
    Limit {
        /// The operation.
        op: &'static str,
        /// The limit's name.
        limit: &'static str,
        /// What the device offers.
        have: u64,
        /// What the operation needs.
        need: u64,
        /// The remedy.
        what: String,
    },
    /// A value that the precision asked for cannot hold.
    #[error("{op}: {what}")]
    Overflow {
        /// The operation.
        op: &'static str,
        /// The largest value there is, and the remedy.
        what: String,
    },
    /// The device or its driver failed: a lost device, a rejected kernel.
    #[error("{device}: {what}")]
    Device {
        /// The device.
        device: String,
        /// What it reported.
        what: String,
    },
    /// A file that is absent, truncated or not what it should be.
    #[error("{}: {what}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Misuse of the tape: consumed twice, two tapes in one operation, an outdated parameter.
    #[error("tape: {what}")]
    Tape {
        /// What was wrong and the remedy.
        what: String,
    },
}

impl Error {
    /// A shape error of `op`.
    pub fn shape(op: &'static str, what: impl Into<String>) -> Self {
        Error::Shape { op, what: what.into() }
    }

    /// A dtype error of `op`.
    pub fn dtype(op: &'static str, what: impl Into<String>) -> Self {
        Error::DType { op, what: what.into() }
    }

    /// An argument error of `op`.
    pub fn argument(op: &'static str, what: impl Into<String>) -> Self {
        Error::Argument { op, what: what.into() }
    }

    /// A tape error.
    pub fn tape(what: impl Into<String>) -> Self {
        Error::Tape { what: what.into() }
    }

    /// A file error.
    pub fn file(path: impl Into<PathBuf>, what: impl std::fmt::Display) -> Self {
        Error::File { path: path.into(), what: what.to_string() }
    }
}
