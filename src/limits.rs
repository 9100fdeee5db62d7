//! ▢ Every bound that is not a setting: value, unit, and why it is that.
