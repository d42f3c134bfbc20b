//! One option: its type, how it is read from text or TOML, and how it is shown.

use std::fmt;
use std::path::PathBuf;

/// A value as it was given.
#[derive(Debug, Clone)]
pub(crate) enum Raw {
    /// From the environment or a flag.
    Text(String),
    /// From a TOML file.
    Toml(toml::Value),
}

/// A type that an option may have.
pub(crate) trait Setting: Sized {
    /// Its name in the reference.
    const TYPE: &'static str;
    /// Whether it is never shown.
    const IS_SECRET: bool = false;
    /// Reads a value; the error says what was expected.
    fn read(raw: &Raw) -> Result<Self, String>;
    /// As TOML, secrets redacted; `None` = not set.
    fn show(&self) -> Option<String>;
}

/// A value that is never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(Option<String>);

impl Secret {
    /// Wraps a secret.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(Some(text.into()))
    }

    /// The secret itself, if it is set.
    #[must_use]
    pub fn reveal(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "<redacted>" } else { "<not set>" })
    }
}

impl Setting for Secret {
    const TYPE: &'static str = "secret";
    const IS_SECRET: bool = true;
    fn read(raw: &Raw) -> Result<Self, String> {
        String::read(raw).map(|s| Self(Some(s).filter(|s| !s.is_empty())))
    }
    fn show(&self) -> Option<String> {
        self.0.as_ref().map(|_| "\"<redacted>\"".to_owned())
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

impl Setting for String {
    const TYPE: &'static str = "text";
    fn read(raw: &Raw) -> Result<Self, String> {
        match raw {
            Raw::Text(s) | Raw::Toml(toml::Value::String(s)) => Ok(s.clone()),
            Raw::Toml(other) => Err(format!("expected a text, found {}", other.type_str())),
        }
    }
    fn show(&self) -> Option<String> {
        Some(quoted(self))
    }
}

impl Setting for Option<String> {
    const TYPE: &'static str = "text";
    fn read(raw: &Raw) -> Result<Self, String> {
        String::read(raw).map(|s| Some(s).filter(|s| !s.is_empty()))
    }
    fn show(&self) -> Option<String> {
        self.as_deref().map(quoted)
    }
}

impl Setting for Vec<String> {
    const TYPE: &'static str = "list of texts";
    fn read(raw: &Raw) -> Result<Self, String> {
        let one = |text: &str| Some(text.trim().to_owned()).filter(|t| !t.is_empty());
        match raw {
            Raw::Toml(toml::Value::Array(items)) => items
                .iter()
                .map(|item| item.as_str().map(str::to_owned).ok_or_else(|| format!("expected texts, found {}", item.type_str())))
                .collect(),
            // From the environment or a flag: with commas between.
            Raw::Text(s) | Raw::Toml(toml::Value::String(s)) => Ok(s.split(',').filter_map(one).collect()),
            Raw::Toml(other) => Err(format!("expected a list of texts, found {}", other.type_str())),
        }
    }
    fn show(&self) -> Option<String> {
        let list = toml::Value::Array(self.iter().cloned().map(toml::Value::String).collect());
        (!self.is_empty()).then(|| list.to_string())
    }
}

impl Setting for PathBuf {
    const TYPE: &'static str = "path";
    fn read(raw: &Raw) -> Result<Self, String> {
        String::read(raw).map(Self::from)
    }
    fn show(&self) -> Option<String> {
        Some(quoted(&self.display().to_string()))
    }
}

impl Setting for Option<PathBuf> {
    const TYPE: &'static str = "path";
    fn read(raw: &Raw) -> Result<Self, String> {
        String::read(raw).map(|s| Some(PathBuf::from(s)).filter(|p| !p.as_os_str().is_empty()))
    }
    fn show(&self) -> Option<String> {
        self.as_ref().map(|p| quoted(&p.display().to_string()))
    }
}

impl Setting for bool {
    const TYPE: &'static str = "true or false";
    fn read(raw: &Raw) -> Result<Self, String> {
        match raw {
            Raw::Toml(toml::Value::Boolean(b)) => Ok(*b),
            Raw::Text(s) => match s.trim().to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => Ok(true),
                "false" | "0" | "no" | "off" => Ok(false),
                _ => Err(format!("expected true or false, found `{s}`")),
            },
            Raw::Toml(other) => Err(format!("expected true or false, found {other}")),
        }
    }
    fn show(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Setting for Option<bool> {
    const TYPE: &'static str = "true or false";
    fn read(raw: &Raw) -> Result<Self, String> {
        bool::read(raw).map(Some)
    }
    fn show(&self) -> Option<String> {
        self.map(|b| b.to_string())
    }
}

fn read_integer(raw: &Raw) -> Result<u64, String> {
    match raw {
        Raw::Toml(toml::Value::Integer(n)) => u64::try_from(*n).map_err(|_| format!("expected a number from 0 on, found {n}")),
        Raw::Text(s) => s.trim().replace('_', "").parse().map_err(|_| format!("expected a whole number, found `{s}`")),
        Raw::Toml(other) => Err(format!("expected a whole number, found {other}")),
    }
}

macro_rules! integers {
    ($($ty:ty),*) => {$(
        impl Setting for $ty {
            const TYPE: &'static str = "number";
            fn read(raw: &Raw) -> Result<Self, String> {
                let n = read_integer(raw)?;
                <$ty>::try_from(n).map_err(|_| format!("{n} is larger than {}", <$ty>::MAX))
            }
            fn show(&self) -> Option<String> {
                Some(self.to_string())
            }
        }
        impl Setting for Option<$ty> {
            const TYPE: &'static str = "number";
            fn read(raw: &Raw) -> Result<Self, String> {
                <$ty>::read(raw).map(Some)
            }
            fn show(&self) -> Option<String> {
                self.map(|n| n.to_string())
            }
        }
    )*};
}

integers!(u32, u64, usize);

/// An option with a few named values.
macro_rules! choice {
    ($(#[$doc:meta])* $name:ident: $type_name:literal { $($(#[$vdoc:meta])* $variant:ident = $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$vdoc])* $variant),* }

        impl $name {
            /// Its name in the configuration.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }
        }

        impl $crate::config::setting::Setting for $name {
            const TYPE: &'static str = $type_name;
            fn read(raw: &$crate::config::setting::Raw) -> Result<Self, String> {
                match String::read(raw)?.as_str() {
                    $($text => Ok(Self::$variant),)*
                    other => Err(format!("expected one of {}, found `{other}`", [$($text),*].join(", "))),
                }
            }
            fn show(&self) -> Option<String> {
                Some(format!("\"{}\"", self.name()))
            }
        }
    };
}
pub(crate) use choice;

/// One option of the reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigField {
    /// The dotted key; `NAME` stands for a model's name.
    pub key: String,
    /// What kind of value.
    pub type_name: &'static str,
    /// The default as TOML; `None` = not set.
    pub default: Option<String>,
    /// What it does, with its unit.
    pub doc: String,
    /// Whether it is redacted wherever it is shown, and may come from a file (`…_file`).
    pub is_secret: bool,
}

/// A table of options. Made by [`section!`] only: the fields, their defaults, their documentation and the check for unknown keys
/// come from one declaration and cannot drift apart.
pub(crate) trait Section: Default {
    /// The options, for the reference.
    fn describe(prefix: &str) -> Vec<ConfigField>;
    /// Sets one option; `None` = there is no such option.
    fn set(&mut self, field: &str, raw: &Raw) -> Option<Result<(), String>>;
    /// Whether the option is a secret; `None` = there is no such option.
    fn is_secret(field: &str) -> Option<bool>;
    /// Present values as `field = value`, secrets redacted.
    fn show(&self) -> Vec<(&'static str, String)>;
}

macro_rules! section {
    ($(#[doc = $section_doc:literal])* $name:ident { $($(#[doc = $doc:literal])+ $field:ident: $ty:ty = $default:expr;)* }) => {
        $(#[doc = $section_doc])*
        #[derive(Debug, Clone)]
        pub struct $name { $($(#[doc = $doc])+ pub $field: $ty,)* }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl $crate::config::setting::Section for $name {
            fn describe(prefix: &str) -> Vec<$crate::config::setting::ConfigField> {
                let defaults = Self::default();
                vec![$($crate::config::setting::ConfigField {
                    key: if prefix.is_empty() { stringify!($field).to_owned() } else { format!("{prefix}.{}", stringify!($field)) },
                    type_name: <$ty as $crate::config::setting::Setting>::TYPE,
                    default: $crate::config::setting::Setting::show(&defaults.$field),
                    doc: concat!($($doc),+).trim().to_owned(),
                    is_secret: <$ty as $crate::config::setting::Setting>::IS_SECRET,
                }),*]
            }
            fn set(&mut self, field: &str, raw: &$crate::config::setting::Raw) -> Option<Result<(), String>> {
                match field {
                    $(stringify!($field) => Some(<$ty as $crate::config::setting::Setting>::read(raw).map(|v| self.$field = v)),)*
                    _ => None,
                }
            }
            fn is_secret(field: &str) -> Option<bool> {
                match field {
                    $(stringify!($field) => Some(<$ty as $crate::config::setting::Setting>::IS_SECRET),)*
                    _ => None,
                }
            }
            fn show(&self) -> Vec<(&'static str, String)> {
                let mut out = Vec::new();
                $(if let Some(value) = $crate::config::setting::Setting::show(&self.$field) { out.push((stringify!($field), value)); })*
                out
            }
        }
    };
}
pub(crate) use section;
