//! A secret, and how these tests see that it is told nowhere.

use anyhow::{Result, ensure};

use crate::support::world::{Ended, World};

/// With all that parsers of URLs take for something else.
pub const SECRET: &str = "open@se/sa?me#and:more%[x]";

/// Pieces of it that must be told nowhere, either.
const PIECES: [&str; 4] = ["open@", "se/sa", "sa?me", "and:more"];

pub fn ensure_untold(told: &str) -> Result<()> {
    for piece in PIECES.iter().copied().chain(["open%40", "open-sesame"]) {
        ensure!(!told.contains(piece), "{piece} is told: {told}");
    }
    Ok(())
}

/// A command that ends with 2 and says all of these words.
pub fn refused(world: &World, args: &[&str], words: &[&str]) -> Result<Ended> {
    let ended = world.command(args)?;
    ensure!(ended.code == 2 && ended.stdout.is_empty(), "{args:?}: {ended:?}");
    for word in words {
        ensure!(ended.stderr.contains(word), "{args:?} does not say {word}: {ended:?}");
    }
    Ok(ended)
}
