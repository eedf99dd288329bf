//! A schema, parsed.

/// A type's place in [`Types`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TypeId(pub(crate) usize);

/// A schema: its types, each once, so that a record can hold itself.
#[derive(Debug, PartialEq)]
pub(crate) struct Types {
    pub(crate) types: Vec<Type>,
    pub(crate) root: TypeId,
}

impl Types {
    pub(crate) fn get(&self, id: TypeId) -> &Type {
        &self.types[id.0]
    }
}

#[derive(Debug, PartialEq)]
pub(crate) struct Type {
    pub(crate) shape: Shape,
    pub(crate) logical: Option<Logical>,
}

/// How a value is written.
#[derive(Debug, PartialEq)]
pub(crate) enum Shape {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Fixed { name: String, size: usize },
    Enum { name: String, symbols: Vec<String>, default: Option<String> },
    Array(TypeId),
    Map(TypeId),
    Union(Vec<TypeId>),
    Record { name: String, aliases: Vec<String>, fields: Vec<Field> },
}

impl Shape {
    /// The word for it in a schema.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Shape::Null => "null",
            Shape::Boolean => "boolean",
            Shape::Int => "int",
            Shape::Long => "long",
            Shape::Float => "float",
            Shape::Double => "double",
            Shape::Bytes => "bytes",
            Shape::String => "string",
            Shape::Fixed { .. } => "fixed",
            Shape::Enum { .. } => "enum",
            Shape::Array(_) => "array",
            Shape::Map(_) => "map",
            Shape::Union(_) => "union",
            Shape::Record { .. } => "record",
        }
    }
}

#[derive(Debug, PartialEq)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) aliases: Vec<String>,
    pub(crate) of: TypeId,
    pub(crate) default: Option<serde_json::Value>,
}

/// What a value means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Logical {
    Decimal {
        precision: u64,
        scale: u64,
    },
    /// One of the others that the specification has, by its name.
    Named(&'static str),
}

/// Those that are no decimals, each with the shapes it may have.
pub(crate) const LOGICAL: [(&str, &[&str]); 13] = [
    ("uuid", &["string", "fixed"]),
    ("date", &["int"]),
    ("time-millis", &["int"]),
    ("time-micros", &["long"]),
    ("timestamp-millis", &["long"]),
    ("timestamp-micros", &["long"]),
    ("timestamp-nanos", &["long"]),
    ("local-timestamp-millis", &["long"]),
    ("local-timestamp-micros", &["long"]),
    ("local-timestamp-nanos", &["long"]),
    ("duration", &["fixed"]),
    ("big-decimal", &["bytes"]),
    ("decimal", &[]),
];
