//! The text format of Prometheus.

use std::fmt::{Display, Write as _};

/// What a family of numbers is.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// A page of numbers, family by family.
#[derive(Default)]
pub(super) struct Page(String);

/// A family that is being written.
pub(super) struct Family<'a> {
    page: &'a mut String,
    name: &'static str,
}

impl Page {
    /// Begins a family.
    pub(super) fn family(
        &mut self,
        name: &'static str,
        kind: Kind,
        help: &'static str,
    ) -> Family<'_> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Family { page: &mut self.0, name }
    }

    pub(super) fn text(self) -> String {
        self.0
    }
}

impl Family<'_> {
    pub(super) fn add(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.add_part("", labels, value);
    }

    /// Adds a number of a family that has several for each set of labels.
    pub(super) fn add_part(&mut self, part: &str, labels: &[(&str, &str)], value: impl Display) {
        let _ = write!(self.page, "{}{part}", self.name);
        for (index, (name, value)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            let _ = write!(self.page, "{before}{name}=\"{}\"", escape(value));
        }
        let after = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.page, "{after} {value}");
    }
}

/// A value of a label: names of files may have any bytes.
fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_labels_keep_to_their_line() {
        let mut page = Page::default();
        let mut family = page.family("x_total", Kind::Counter, "Xs.");
        family.add(&[("dir", "/a\"b\\c\nd"), ("to", "")], 3);
        family.add(&[], 0.5);
        let wanted = concat!(
            "# HELP x_total Xs.\n# TYPE x_total counter\n",
            r#"x_total{dir="/a\"b\\c\nd",to=""} 3"#,
            "\nx_total 0.5\n"
        );
        assert_eq!(page.text(), wanted);
    }
}
