//! What is wrong with a policy: place, reason, way out.

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use crate::span::Span;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The policy means something, but probably not what was intended.
    Warning,
    /// The policy cannot be used.
    Error,
}

impl Severity {
    /// `warning` or `error`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

macro_rules! codes {
    ($($variant:ident = $severity:ident, $name:literal;)*) => {
        /// The kind of a diagnostic. Names are stable: scripts may look for them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs, reason = "each name says what it is, and tests/policies/bad shows it")]
        pub enum Code { $($variant,)* }

        impl Code {
            /// All kinds.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The stable name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// How bad it is.
            #[must_use]
            pub fn severity(self) -> Severity {
                match self { $(Self::$variant => Severity::$severity,)* }
            }
        }
    };
}

codes! {
    UnterminatedText = Error, "unterminated-text";
    UnexpectedCharacter = Error, "unexpected-character";
    UnquotedPath = Error, "unquoted-path";
    UnexpectedToken = Error, "unexpected-token";
    UnknownStatement = Error, "unknown-statement";
    TooDeep = Error, "too-deep";
    RedirectVerdict = Error, "redirect-verdict";
    UnknownOperation = Error, "unknown-operation";
    RepeatedOperation = Warning, "repeated-operation";
    UnknownPredicate = Error, "unknown-predicate";
    UnknownErrno = Error, "unknown-errno";
    ForbiddenErrno = Error, "forbidden-errno";
    UnknownUser = Error, "unknown-user";
    UnknownGroup = Error, "unknown-group";
    UnknownExecutable = Error, "unknown-executable";
    UnknownExtension = Error, "unknown-extension";
    UnknownTarget = Error, "unknown-target";
    UnknownList = Error, "unknown-list";
    UnknownFlag = Error, "unknown-flag";
    UnknownType = Error, "unknown-type";
    UnknownOption = Error, "unknown-option";
    BadOptionValue = Error, "bad-option-value";
    RepeatedOption = Error, "repeated-option";
    RepeatedName = Error, "repeated-name";
    EmptyList = Error, "empty-list";
    UnusedList = Warning, "unused-list";
    UnusedParameter = Warning, "unused-parameter";
    UnknownParameter = Error, "unknown-parameter";
    BadInclude = Error, "bad-include";
    RepeatedInclude = Warning, "repeated-include";
    BadNumber = Error, "bad-number";
    BadSize = Error, "bad-size";
    BadTime = Error, "bad-time";
    UnknownCapability = Error, "unknown-capability";
    UnknownDay = Error, "unknown-day";
    UnknownMode = Error, "unknown-mode";
    CommandIsPath = Error, "command-is-path";
    CommandTooLong = Error, "command-too-long";
    RelativePath = Error, "relative-path";
    EmptyGlob = Error, "empty-glob";
    GlobTooLong = Error, "glob-too-long";
    BadEscape = Error, "bad-escape";
    NulByte = Error, "nul-byte";
    UnclosedClass = Error, "unclosed-class";
    EmptyClass = Error, "empty-class";
    ReversedRange = Error, "reversed-range";
    NonAsciiClass = Error, "non-ascii-class";
    UnclosedBrace = Error, "unclosed-brace";
    StrayBrace = Error, "stray-brace";
    MisplacedDoubleStar = Error, "misplaced-double-star";
    EmptyComponent = Error, "empty-component";
    DotComponent = Error, "dot-component";
    TooManyAlternatives = Error, "too-many-alternatives";
    RelativeGlob = Error, "relative-glob";
    AbsoluteGlob = Error, "absolute-glob";
    SymbolicLink = Warning, "symbolic-link";
    TargetNotAbsolute = Error, "target-not-absolute";
    TargetIsRoot = Error, "target-is-root";
    TargetAnyDepth = Error, "target-any-depth";
    OverlappingTargets = Error, "overlapping-targets";
    SetWithoutTarget = Error, "set-without-target";
    RuleWithoutPath = Error, "rule-without-path";
    ImpossibleRule = Error, "impossible-rule";
    ContradictingRules = Error, "contradicting-rules";
    ShadowedRule = Warning, "shadowed-rule";
    RepeatedRule = Warning, "repeated-rule";
    TooLarge = Error, "too-large";
    UnknownOutcome = Error, "unknown-outcome";
    ContradictingOutcome = Error, "contradicting-outcome";
    ExpectedPath = Error, "expected-path";
    ExpectedGroup = Error, "expected-group";
    UnknownMark = Error, "unknown-mark";
    UnusedMark = Warning, "unused-mark";
    TooManyMarks = Error, "too-many-marks";
    BadRate = Error, "bad-rate";
    MisplacedRate = Error, "misplaced-rate";
    TooManyRates = Error, "too-many-rates";
    UnreachableRate = Warning, "unreachable-rate";
    EarlySize = Warning, "early-size";
    UnknownSeverity = Error, "unknown-severity";
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Its kind.
    pub code: Code,
    /// Where.
    pub span: Span,
    /// The thing and the reason, one line.
    pub title: String,
    /// What to say right at the place; may be empty.
    pub label: String,
    /// Other places that have to do with it.
    pub related: Vec<(Span, String)>,
    /// The way out.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// A diagnostic without label, related places and hint.
    pub fn new(code: Code, span: Span, title: impl Into<String>) -> Self {
        let (label, related) = (String::new(), Vec::new());
        Self { code, span, title: title.into(), label, related, hint: None }
    }

    /// With a text at the place.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// With the way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With another place.
    #[must_use]
    pub fn related(mut self, span: Span, text: impl Into<String>) -> Self {
        self.related.push((span, text.into()));
        self
    }

    /// With a hint that names what was probably meant, or else `otherwise`.
    #[must_use]
    pub(crate) fn did_you_mean<'a>(
        self,
        word: &str,
        known: impl Iterator<Item = &'a str>,
        otherwise: &str,
    ) -> Self {
        match crate::names::similar(word, known) {
            Some(similar) => self.hint(format!("did you mean `{similar}`?")),
            None => self.hint(otherwise),
        }
    }

    /// True if the policy cannot be used.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.code.severity() == Severity::Error
    }

    /// The diagnostic with the lines of `text`, which is called `name`, for people to read; with
    /// colours if `styled`. Ends without a line end.
    #[must_use]
    pub fn render(&self, name: &str, text: &str, styled: bool) -> String {
        let level = match self.code.severity() {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let clamp =
            |span: Span| span.range().start.min(text.len())..span.range().end.min(text.len());
        let primary = AnnotationKind::Primary.span(clamp(self.span));
        let primary = if self.label.is_empty() { primary } else { primary.label(&self.label) };
        let related = self.related.iter();
        let related =
            related.map(|(span, text)| AnnotationKind::Context.span(clamp(*span)).label(text));
        let snippet = Snippet::source(text).path(name).annotation(primary).annotations(related);
        let group = level.primary_title(&self.title).id(self.code.name()).element(snippet);
        let hint = self.hint.iter().map(|hint| Level::HELP.message(hint));
        let renderer = if styled { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&[group.elements(hint)])
    }
}

/// All diagnostics one after the other, with an empty line after each.
#[must_use]
pub fn render_all(diagnostics: &[Diagnostic], name: &str, text: &str, styled: bool) -> String {
    let rendered = diagnostics.iter().map(|one| one.render(name, text, styled) + "\n\n");
    rendered.collect()
}
