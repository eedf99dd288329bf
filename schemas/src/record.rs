//! Events as records: their fields one after the other, read by our own schema or along a plan.

use crate::avro::{Plan, Unread};

/// A record that can be read from data of another schema.
pub trait Planned: Sized {
    /// Takes a value of the plan's writer from the front. Fields are numbered as they stand in the struct, which is as they
    /// stand in the schema.
    fn read_planned(plan: &Plan, from: &mut &[u8]) -> Result<Self, Unread>;
}

/// A struct as the record of its fields, in their order. What they must not be together a function says.
macro_rules! record {
    ($name:ident { $($field:ident),* $(,)? } $(checked by $check:path)?) => {
        impl $crate::datum::Datum for $name {
            fn write(&self, out: &mut Vec<u8>) {
                $($crate::datum::Datum::write(&self.$field, out);)*
            }

            fn read(from: &mut &[u8]) -> Result<Self, $crate::datum::InvalidDatum> {
                // a struct's fields are made in the order they are written here
                let record = Self { $($field: $crate::datum::Datum::read(from)?),* };
                $($check(&record)?;)?
                Ok(record)
            }
        }

        impl $crate::record::Planned for $name {
            fn read_planned(
                plan: &$crate::avro::Plan,
                from: &mut &[u8],
            ) -> Result<Self, $crate::avro::Unread> {
                // mostly the writer has some fields more, and all of ours in their order
                if let Some(mut between) = plan.between() {
                    let mut number = 0;
                    let record = Self {
                        $($field: {
                            between.pass(number, from)?;
                            number += 1;
                            $crate::datum::Datum::read(from)?
                        }),*
                    };
                    between.pass(number, from)?;
                    $($check(&record)?;)?
                    return Ok(record);
                }
                $(let mut $field = None;)*
                plan.walk(from, |place, from| {
                    let mut number = 0;
                    $(
                        if place == number {
                            $field = Some($crate::datum::Datum::read(from)?);
                            return Ok(());
                        }
                        number += 1;
                    )*
                    // a plan has no others
                    let _ = number;
                    Ok(())
                })?;
                let missing = || $crate::datum::InvalidDatum::new("a field is missing");
                let record = Self { $($field: $field.ok_or_else(missing)?),* };
                $($check(&record)?;)?
                Ok(record)
            }
        }
    };
}
pub(crate) use record;
