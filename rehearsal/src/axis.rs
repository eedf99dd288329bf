//! Which values a plot's axes have, and which of them are written beside it.

use crate::words::{count, places};

/// From a value to its place on the axis.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Axis {
    low: f64,
    high: f64,
    is_log: bool,
    /// Where something is written, and what.
    pub(crate) ticks: Vec<(f64, String)>,
    /// Of what the numbers are: of time this depends on how much there is of it.
    pub(crate) unit: &'static str,
}

/// Values beyond are drawn at the edge: 31 years, in milliseconds.
const LOG_MAX: f64 = 1e12;
const LOG_MIN: f64 = 0.01;

impl Axis {
    /// From nothing to these; of whole things.
    pub(crate) fn linear(values: &[f64]) -> Self {
        let most = values.iter().copied().filter(|value| value.is_finite()).fold(0.0, f64::max).min(1e20);
        let step = above(most / 5.0).max(1.0);
        let steps = (most / step).ceil().max(1.0);
        let ticks = (0..=steps as u32).map(|number| f64::from(number) * step);
        Self {
            low: 0.0,
            high: steps * step,
            is_log: false,
            ticks: ticks.map(|value| (value, short(value))).collect(),
            unit: "",
        }
    }

    /// From the least to the most of these, by factors.
    pub(crate) fn log(values: &[f64]) -> Self {
        let usual = || values.iter().copied().filter(|value| value.is_finite() && *value > 0.0);
        let most = usual().fold(LOG_MIN, f64::max);
        let least = usual().fold(most, f64::min);
        let steps: Vec<f64> =
            (-2..=12).flat_map(|power| [1.0, 2.0, 5.0].map(|first| first * 10f64.powi(power))).collect();
        let below = steps.iter().rposition(|step| *step <= least.clamp(LOG_MIN, LOG_MAX)).unwrap_or(0);
        let above = steps.iter().position(|step| *step >= most.clamp(LOG_MIN, LOG_MAX)).unwrap_or(0);
        // a factor of ten at least, so that what hardly changes does not look as if it did
        let above = above.max(below + 3).min(steps.len() - 1);
        let below = below.min(above - 3);
        let within = &steps[below..=above];
        let written = |step: &&f64| within.len() <= 8 || (step.log10() - step.log10().round()).abs() < 1e-9;
        let decades = within.iter().filter(written).count();
        let each = if within.len() <= 8 { 1 } else { decades.div_ceil(7) };
        Self {
            low: within[0],
            high: steps[above],
            is_log: true,
            ticks: within.iter().filter(written).step_by(each).map(|step| (*step, short(*step))).collect(),
            unit: "",
        }
    }

    /// Seconds until an end, in the unit that suits them.
    pub(crate) fn time(end: f64) -> Self {
        const STEPS: [f64; 12] = [1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0];
        let end = if end.is_finite() { end.clamp(1.0, 1e10) } else { 1.0 };
        let step = STEPS
            .into_iter()
            .find(|step| end / step <= 6.0)
            .unwrap_or_else(|| above(end / 21_600.0) * 3600.0);
        let (unit, seconds) = match end {
            ..=180.0 => ("seconds from the beginning", 1.0),
            ..=10_800.0 => ("minutes from the beginning", 60.0),
            _ => ("hours from the beginning", 3600.0),
        };
        let ticks = (0..=(end / step) as u32).map(|number| f64::from(number) * step);
        Self {
            low: 0.0,
            high: end,
            is_log: false,
            ticks: ticks.map(|value| (value, places(value / seconds))).collect(),
            unit,
        }
    }

    /// Where a value lies, from 0 to 1; what lies beyond is at the edge. Of what is no number there is no place.
    pub(crate) fn place(&self, value: f64) -> Option<f64> {
        if !value.is_finite() {
            return None;
        }
        let value = value.clamp(self.low, self.high);
        Some(if self.is_log {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        })
    }
}

/// The next of 1, 2, 5, 10, 20, 50 and so on.
fn above(value: f64) -> f64 {
    if value <= 0.0 || !value.is_finite() {
        return 1.0;
    }
    let ten = 10f64.powf(value.log10().floor());
    // a hair above is not above
    [1.0, 2.0, 5.0]
        .into_iter()
        .map(|first| first * ten)
        .find(|step| *step >= value * 0.999_999)
        .unwrap_or(ten * 10.0)
}

/// A number in at most six characters, as far as there are names for large ones.
fn short(value: f64) -> String {
    match value {
        ..100_000.0 if value.fract() == 0.0 => count(value as u64),
        ..1e3 => places(value),
        ..1e6 => format!("{} k", places(value / 1e3)),
        ..1e9 => format!("{} M", places(value / 1e6)),
        ..1e12 => format!("{} G", places(value / 1e9)),
        _ => format!("{value:.0e}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, text)| text.as_str()).collect()
    }

    #[test]
    fn ticks_are_numbers_that_people_would_choose() {
        let linear = |most: f64| Axis::linear(&[most]);
        assert_eq!(written(&linear(1000.0)), ["0", "200", "400", "600", "800", "1,000"]);
        assert_eq!(written(&linear(6120.0)), ["0", "2,000", "4,000", "6,000", "8,000"]);
        assert_eq!(written(&linear(3.0)), ["0", "1", "2", "3"]);
        assert_eq!(written(&linear(0.0)), ["0", "1"]);
        assert_eq!(written(&linear(640_000.0)), ["0", "200 k", "400 k", "600 k", "800 k"]);
    }

    #[test]
    fn a_log_axis_has_at_least_a_factor_of_ten() {
        let log = |values: &[f64]| Axis::log(values);
        assert_eq!(written(&log(&[2.5, 3.0])), ["2", "5", "10", "20"]);
        assert_eq!(written(&log(&[1.6, 60.0])), ["1", "2", "5", "10", "20", "50", "100"]);
        assert_eq!(written(&log(&[0.3, 900.0])), ["1", "10", "100", "1,000"]);
        assert_eq!(written(&log(&[])).len(), 4);
    }

    #[test]
    fn time_is_told_in_the_unit_that_suits_it() {
        assert_eq!(written(&Axis::time(34.0)), ["0", "10", "20", "30"]);
        assert_eq!(written(&Axis::time(1.0)), ["0", "1"]);
        let half_an_hour = Axis::time(2100.0);
        assert_eq!(written(&half_an_hour), ["0", "10", "20", "30"]);
        assert_eq!(half_an_hour.unit, "minutes from the beginning");
        assert_eq!(written(&Axis::time(190.0)), ["0", "1", "2", "3"]);
        assert_eq!(written(&Axis::time(86_400.0)), ["0", "5", "10", "15", "20"]);
    }

    proptest! {
        #[test]
        fn any_values_have_their_places(values in prop::collection::vec(any::<f64>(), 0..20), at in any::<f64>()) {
            let end = values.first().copied().unwrap_or(f64::NAN);
            for axis in [Axis::linear(&values), Axis::log(&values), Axis::time(end)] {
                prop_assert!((2..=9).contains(&axis.ticks.len()), "{axis:?}");
                for value in values.iter().copied().chain([at]).chain(axis.ticks.iter().map(|(value, _)| *value)) {
                    if let Some(place) = axis.place(value) {
                        prop_assert!((0.0..=1.0).contains(&place), "{value} at {place} of {axis:?}");
                    }
                }
                let widest = axis.ticks.iter().map(|(_, text)| text.len()).max();
                prop_assert!(widest <= Some(9), "{axis:?}");
            }
        }
    }
}
