//! What tests plant in the parts of a publisher.

use parking_lot::Mutex;

/// What a test plants in the parts, such as a panic: each happens once.
#[derive(Default)]
pub(super) struct Planted(Mutex<Vec<(Part, PlantedAct)>>);

type PlantedAct = Box<dyn FnOnce() + Send>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Probe,
    Linger,
    /// All that gathered is with librdkafka, and is not said to be.
    HandingOver,
    /// It is said to be.
    HandedOver,
    Delivery,
}

impl Planted {
    pub(super) fn plant(&self, part: Part, act: impl FnOnce() + Send + 'static) {
        self.0.lock().push((part, Box::new(act)));
    }

    /// Does what is planted here.
    pub(super) fn meet(&self, part: Part) {
        let mut planted = self.0.lock();
        let here = planted.iter().position(|(at, _)| *at == part).map(|index| planted.remove(index));
        drop(planted);
        if let Some((_, act)) = here {
            act();
        }
    }
}
