use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::template::tree::{Argument, Call, Node, Step};

/// A value of a tree that is being made up.
#[derive(Clone, Debug)]
enum Shape {
    Scalar(&'static str),
    String(Vec<Piece>),
    Array(Vec<Shape>),
    Object(Vec<(Vec<Piece>, Shape)>),
    Placeholder(Said),
}

#[derive(Clone, Debug)]
enum Piece {
    Text(&'static str),
    Placeholder(Said),
}

/// What a placeholder says.
#[derive(Clone, Debug)]
struct Said {
    form: Form,
    name: String,
    steps: Vec<StepKind>,
    filters: Vec<(String, Vec<Json>)>,
}

/// Puts a tree together whose spans are of a text that holds the lexemes and nothing else.
#[derive(Default)]
struct Builder {
    source: String,
    tree: Tree,
}

impl Builder {
    fn spell(&mut self, text: &str) -> Span {
        let start = self.source.len();
        self.source.push_str(text);
        Span::new(start, self.source.len())
    }

    fn open(&mut self, kind: NodeKind, span: Span) -> usize {
        self.tree.nodes.push(Node { kind, span, end: 0 });
        self.tree.nodes.len() - 1
    }

    fn close(&mut self, node: usize) {
        self.tree.nodes[node].end = Span::new(0, self.tree.nodes.len()).end;
    }

    fn leaf(&mut self, kind: NodeKind, text: &str) {
        let span = self.spell(text);
        let node = self.open(kind, span);
        self.close(node);
    }

    fn value(&mut self, shape: Shape) {
        let nowhere = Span::new(0, 0);
        match shape {
            Shape::Scalar(spelling) => self.leaf(NodeKind::Scalar, spelling),
            Shape::String(pieces) => self.string(NodeKind::String, pieces),
            Shape::Placeholder(said) => self.placeholder(said, Position::Value),
            Shape::Array(items) => {
                let node = self.open(NodeKind::Array, nowhere);
                for item in items {
                    self.value(item);
                }
                self.close(node);
            }
            Shape::Object(members) => {
                let node = self.open(NodeKind::Object, nowhere);
                for (name, value) in members {
                    self.string(NodeKind::Name, name);
                    self.value(value);
                }
                self.close(node);
            }
        }
    }

    fn string(&mut self, kind: NodeKind, pieces: Vec<Piece>) {
        if pieces.iter().any(|piece| matches!(piece, Piece::Placeholder(_))) {
            let node = self.open(kind, Span::new(0, 0));
            self.pieces(pieces);
            self.close(node);
        } else {
            let text = pieces.first().map_or("", |piece| match piece {
                Piece::Text(text) => text,
                Piece::Placeholder(_) => "",
            });
            self.leaf(kind, &format!("\"{text}\""));
        }
    }

    /// Pieces as a parser could have found them: text is never behind text, and where a quote is
    /// open nothing follows in angle brackets that would go on within it.
    fn pieces(&mut self, pieces: Vec<Piece>) {
        let mut is_behind_text = false;
        let mut has_quote = false;
        for piece in pieces {
            match piece {
                Piece::Text(text) if !is_behind_text => {
                    self.leaf(NodeKind::Text, text);
                    is_behind_text = true;
                    has_quote |= text.contains('\'');
                }
                Piece::Text(_) => {}
                Piece::Placeholder(said) => {
                    let form = if has_quote { Form::Brace } else { said.form };
                    self.placeholder(Said { form, ..said }, Position::Text);
                    is_behind_text = false;
                }
            }
        }
    }

    fn placeholder(&mut self, said: Said, position: Position) {
        let nowhere = Span::new(0, 0);
        let Said { form, name, steps, filters } = said;
        let name = self.spell(&name);
        let steps = steps.into_iter().map(|kind| Step { span: nowhere, kind }).collect();
        let mut calls = Vec::new();
        for (filter, arguments) in filters {
            let arguments = arguments.into_iter().map(|value| Argument { span: nowhere, value }).collect();
            calls.push(Call { name: self.spell(&filter), arguments });
        }
        let span = nowhere;
        let said = Placeholder { span, form, position, path: span, name, steps, filters: calls };
        self.tree.placeholders.push(said);
        self.leaf(NodeKind::Placeholder, "");
    }
}

fn said() -> impl Strategy<Value = Said> {
    let ident = || "[a-zA-Z_][a-zA-Z0-9_]{0,8}";
    let step = prop_oneof![
        any::<String>().prop_map(|name| StepKind::Member(name.into())),
        "[a-z_][a-z0-9_-]{0,5}".prop_map(|name| StepKind::Member(name.into())),
        any::<usize>().prop_map(StepKind::Index),
        (0..3_usize).prop_map(StepKind::Index),
    ];
    let argument = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::Bool),
        prop::sample::select(&["0", "-0.50", "12", "1E+2", "1e-7", "9007199254740993"][..])
            .prop_map(|spelling| Json::number(spelling).unwrap()),
        any::<String>().prop_map(|text| Json::Text(text.into())),
        "[a-z'<>{}|:,\\\\\"\n ]{0,6}".prop_map(|text| Json::Text(text.into())),
    ];
    let filter = (ident(), prop::collection::vec(argument, 0..3));
    let form = prop_oneof![Just(Form::Brace), Just(Form::Angle)];
    (form, ident(), prop::collection::vec(step, 0..3), prop::collection::vec(filter, 0..3))
        .prop_map(|(form, name, steps, filters)| Said { form, name, steps, filters })
}

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let text = prop::sample::select(
        &[
            "x",
            "é😀",
            " ",
            "it's",
            "'>",
            "|upper>",
            "\\u007bemail}",
            "\\\"\\\\\\n",
            "\\ud83d\\ude00",
            "{",
            "{}",
            "{0} { 1",
            "<",
            "<br/> <a b",
            "<email|default:'",
            "<custom['",
            "<email",
            "{{}}",
        ][..],
    );
    let piece = prop_oneof![text.prop_map(Piece::Text), said().prop_map(Piece::Placeholder)];
    prop::collection::vec(piece, 0..5)
}

fn shape() -> impl Strategy<Value = Shape> {
    let scalar = prop::sample::select(&["null", "true", "false", "0", "-1.50", "1E+2"][..]);
    let leaf = prop_oneof![
        scalar.prop_map(Shape::Scalar),
        pieces().prop_map(Shape::String),
        said().prop_map(Shape::Placeholder),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Shape::Array),
            prop::collection::vec((pieces(), inner), 0..4).prop_map(Shape::Object),
        ]
    })
}

#[track_caller]
fn assert_parse_gives(content_type: ContentType, built: &Builder) {
    let printed = print(&built.source, &built.tree);
    let parsed = parse(&printed, content_type).unwrap_or_else(|| panic!("refused: {printed}"));
    assert_eq!(meaning(&printed, &parsed), meaning(&built.source, &built.tree), "{printed}");
    assert_printed_tree_is_the_tree(&printed, content_type);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_parse_of_a_printed_tree_is_the_tree(shape in shape()) {
        let mut built = Builder::default();
        built.value(shape);
        assert_parse_gives(ContentType::Json, &built);
    }

    #[test]
    fn so_it_is_for_other_content_types(pieces in pieces(), is_xml in any::<bool>()) {
        let mut built = Builder::default();
        let only_braces = |piece| match piece {
            Piece::Placeholder(said) if is_xml => Piece::Placeholder(Said { form: Form::Brace, ..said }),
            other => other,
        };
        built.pieces(pieces.into_iter().map(only_braces).collect());
        assert_parse_gives(if is_xml { ContentType::Xml } else { ContentType::Form }, &built);
    }
}

fn texts(folder: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    files.filter_map(|file| String::from_utf8(fs::read(file.unwrap().path()).unwrap()).ok()).collect()
}

/// The template files of all tests, and what the fuzzers have found of interest.
#[test]
fn the_trees_of_all_template_files_survive_printing() {
    let mut templates = texts("templates");
    templates.extend(texts("tests/template/json"));
    for (folder, mark) in [("good", "\n--- context\n"), ("bad", "\n--- problems\n")] {
        for text in texts(&format!("tests/template/{folder}")) {
            templates.push(text.split_once(mark).unwrap().0.to_owned());
        }
    }
    for text in texts("tests/template/filters") {
        for (case, _) in text.lines().filter_map(|line| line.rsplit_once(" => ")) {
            let filters = case.split_once(" | ").unwrap().1;
            templates.push(format!("[{{custom.v | {filters}}}, \"<custom.v|{filters}>\"]"));
        }
    }
    let parsed = templates.iter().filter(|text| parse(text, ContentType::Json).is_some()).count();
    assert!(parsed > 200, "{parsed} of {}", templates.len());
    // A byte that says the content type comes before each text of the corpus.
    templates.extend(
        texts("tests/fuzz/corpus/compile").iter().filter_map(|text| text.get(1..)).map(str::to_owned),
    );
    for template in &templates {
        for content_type in [ContentType::Json, ContentType::Form, ContentType::Xml, ContentType::Text] {
            assert_printed_tree_is_the_tree(template, content_type);
        }
    }
}
