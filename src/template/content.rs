//! What a template's text is.

use super::escaping::Escaping;

/// What a template's text is, and so how data is escaped in it. Only [`ContentType::Json`] has a
/// syntax that is checked; the others are text between placeholders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ContentType {
    /// `application/json`
    #[default]
    Json,
    /// `application/x-www-form-urlencoded`: values are percent-encoded (RFC 3986), a space as `%20`.
    Form,
    /// `application/xml` or `text/xml`: values are escaped; what XML 1.0 cannot hold becomes
    /// U+FFFD. Only the brace form is a placeholder.
    Xml,
    /// `text/plain`: values as they are.
    Text,
}

impl ContentType {
    /// The content type of that name (RFC 9110, section 8.3.1: letters in either case, parameters
    /// behind a semicolon have no say); `None` for one that templates are not made for.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.split(';').next().unwrap_or(name).trim().to_ascii_lowercase();
        match name.as_str() {
            "application/json" => Some(Self::Json),
            "application/x-www-form-urlencoded" => Some(Self::Form),
            "application/xml" | "text/xml" => Some(Self::Xml),
            "text/plain" => Some(Self::Text),
            _ => None,
        }
    }

    pub(super) const fn escaping(self) -> Escaping {
        match self {
            Self::Json => Escaping::Json,
            Self::Form => Escaping::Percent,
            Self::Xml => Escaping::Xml,
            Self::Text => Escaping::Nothing,
        }
    }

    /// Whether `<name>` is a placeholder, and not markup.
    pub(super) const fn has_angle_form(self) -> bool {
        !matches!(self, Self::Xml)
    }

    /// How a literal brace is written where it would open a placeholder.
    pub(super) const fn literal_brace(self) -> Option<&'static str> {
        match self {
            Self::Json => Some("\\u007b"),
            Self::Form => Some("%7B"),
            Self::Xml => Some("&#123;"),
            Self::Text => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_http_reads_them() {
        assert_eq!(ContentType::from_name("Application/JSON; charset=utf-8"), Some(ContentType::Json));
        assert_eq!(ContentType::from_name("text/xml"), Some(ContentType::Xml));
        assert_eq!(ContentType::from_name("text/html"), None);
        assert_eq!(ContentType::from_name(""), None);
    }
}
