//! Holds the queries against the part of GitHub's published schema that they use, and reads what comes back.

use super::{QUERIES, endpoint, of_discussion, of_ours, refusal};
use crate::answer::{Answer, Speaker};
use graphql_parser::query::{
    Definition, OperationDefinition, Selection, SelectionSet, Type, Value, VariableDefinition,
};
use graphql_parser::schema::{self, InputValue, TypeDefinition};
use graphql_parser::{parse_query, parse_schema};
use serde_json::json;
use std::collections::BTreeMap;
use vestibule_plugin_api::PluginError;
use vestibule_plugin_api::toolbox::http;

const SCHEMA: &str = include_str!("../../../../tests/fixtures/github/schema.graphql");

type Text = String;

/// What is asked of a field: its arguments, and the type that it has.
struct FieldOf<'a> {
    arguments: &'a [InputValue<'a, Text>],
    of: String,
}

struct Schema<'a> {
    fields: BTreeMap<(String, String), FieldOf<'a>>,
    inputs: BTreeMap<String, &'a [InputValue<'a, Text>]>,
}

/// A type without what says that there are many of it, or must be one.
fn bare(of: &Type<'_, Text>) -> String {
    match of {
        Type::NamedType(name) => name.clone(),
        Type::ListType(inner) | Type::NonNullType(inner) => bare(inner),
    }
}

impl<'a> Schema<'a> {
    fn of(document: &'a schema::Document<'a, Text>) -> Schema<'a> {
        let mut schema = Schema { fields: BTreeMap::new(), inputs: BTreeMap::new() };
        for definition in &document.definitions {
            let schema::Definition::TypeDefinition(definition) = definition else { continue };
            let (name, fields) = match definition {
                TypeDefinition::Object(object) => (&object.name, &object.fields),
                TypeDefinition::Interface(interface) => (&interface.name, &interface.fields),
                TypeDefinition::InputObject(input) => {
                    schema.inputs.insert(input.name.clone(), &input.fields);
                    continue;
                }
                _ => continue,
            };
            for field in fields {
                let known = FieldOf { arguments: &field.arguments, of: bare(&field.field_type) };
                schema.fields.insert((name.clone(), field.name.clone()), known);
            }
        }
        schema
    }
}

/// One operation that is looked through, with what is wrong.
struct Check<'a> {
    schema: &'a Schema<'a>,
    variables: &'a [VariableDefinition<'a, Text>],
    fragments: &'a BTreeMap<String, (String, &'a SelectionSet<'a, Text>)>,
    faults: Vec<String>,
}

impl Check<'_> {
    fn selection(&mut self, of: &str, set: &SelectionSet<'_, Text>) {
        for selection in &set.items {
            match selection {
                Selection::Field(field) => {
                    let key = (of.to_owned(), field.name.clone());
                    let Some(known) = self.schema.fields.get(&key) else {
                        self.faults.push(format!("{of} has no {}", field.name));
                        continue;
                    };
                    self.values(
                        &field.name,
                        known.arguments,
                        field.arguments.iter().map(|(name, value)| (name, value)),
                    );
                    self.selection(&known.of, &field.selection_set);
                }
                Selection::InlineFragment(fragment) => {
                    let on = fragment.type_condition.as_ref().map_or(of.to_owned(), |on| {
                        let graphql_parser::query::TypeCondition::On(on) = on;
                        on.clone()
                    });
                    self.selection(&on, &fragment.selection_set);
                }
                Selection::FragmentSpread(spread) => match self.fragments.get(&spread.fragment_name) {
                    Some((on, set)) => self.selection(&on.clone(), set),
                    None => self.faults.push(format!("there is no fragment {}", spread.fragment_name)),
                },
            }
        }
    }

    fn values<'v, 'x: 'v>(
        &mut self,
        at: &str,
        known: &[InputValue<'_, Text>],
        given: impl Iterator<Item = (&'v String, &'v Value<'x, Text>)>,
    ) {
        let given: BTreeMap<&String, &Value<'_, Text>> = given.collect();
        for name in given.keys().filter(|name| known.iter().all(|one| one.name != ***name)) {
            self.faults.push(format!("{at} takes no {name}"));
        }
        for one in known {
            match given.get(&one.name) {
                None if matches!(one.value_type, Type::NonNullType(_)) && one.default_value.is_none() => {
                    self.faults.push(format!("{at} needs {}", one.name));
                }
                None => {}
                Some(value) => self.value(&one.name, &one.value_type, value),
            }
        }
    }

    fn value(&mut self, at: &str, wanted: &Type<'_, Text>, given: &Value<'_, Text>) {
        match given {
            Value::Variable(name) => {
                let declared = self.variables.iter().find(|variable| variable.name == *name);
                let declared = declared.map(|variable| variable.var_type.to_string()).unwrap_or_default();
                let wanted = wanted.to_string();
                if declared != wanted && declared.strip_suffix('!') != Some(&wanted) {
                    self.faults.push(format!("{at} is {wanted}, and ${name} is {declared}"));
                }
            }
            Value::Object(fields) => match self.schema.inputs.get(&bare(wanted)) {
                Some(known) => self.values(at, known, fields.iter()),
                None => self.faults.push(format!("{at} is no object")),
            },
            Value::Int(_) if bare(wanted) == "Int" => {}
            other => self.faults.push(format!("{at}: {other}")),
        }
    }
}

fn faults(queries: &str) -> Vec<String> {
    let document = parse_schema::<Text>(SCHEMA).expect("a schema");
    let schema = Schema::of(&document);
    let queries = parse_query::<Text>(queries).expect("queries");
    let mut fragments = BTreeMap::new();
    for definition in &queries.definitions {
        if let Definition::Fragment(fragment) = definition {
            let graphql_parser::query::TypeCondition::On(on) = &fragment.type_condition;
            fragments.insert(fragment.name.clone(), (on.clone(), &fragment.selection_set));
        }
    }
    let mut faults = Vec::new();
    for definition in &queries.definitions {
        let Definition::Operation(operation) = definition else { continue };
        let (root, variables, set) = match operation {
            OperationDefinition::Query(query) => ("Query", &query.variable_definitions, &query.selection_set),
            OperationDefinition::Mutation(mutation) => {
                ("Mutation", &mutation.variable_definitions, &mutation.selection_set)
            }
            _ => panic!("GitHub knows queries and mutations"),
        };
        let mut check = Check { schema: &schema, variables, fragments: &fragments, faults: Vec::new() };
        check.selection(root, set);
        faults.extend(check.faults);
    }
    faults
}

#[test]
fn the_queries_are_of_githubs_schema() {
    assert_eq!(faults(QUERIES), [""; 0]);
    for (word, wrong, want) in [
        ("replyToId: $parent", "replyTo: $parent", "takes no replyTo"),
        ("viewerDidAuthor", "isOwn", "DiscussionComment has no isOwn"),
        ("$number: Int!", "$number: String!", "$number is String!"),
        ("commentId: $id, ", "", "needs commentId"),
    ] {
        let found = faults(&QUERIES.replace(word, wrong));
        assert!(found.iter().any(|fault| fault.contains(want)), "{wrong}: {found:?}");
    }
}

#[test]
fn where_graphql_is() {
    for (base, want) in [
        ("https://api.github.com", "https://api.github.com/graphql"),
        ("https://ghe.example/api/v3", "https://ghe.example/api/graphql"),
        ("http://127.0.0.1:4001", "http://127.0.0.1:4001/graphql"),
    ] {
        assert_eq!(endpoint(base), want);
    }
}

#[test]
fn whose_comments_are_found() {
    let comment = |own: bool, id: &str| json!({ "id": id, "body": "x", "viewerDidAuthor": own });
    assert_eq!(of_ours(&comment(true, "DC_1")), Some(("DC_1".into(), "x".into())));
    assert_eq!(of_ours(&comment(false, "DC_1")), None);
    assert_eq!(of_ours(&comment(true, "../x y")), None);
    assert_eq!(of_ours(&json!(null)), None);
}

#[test]
fn what_each_refusal_means() {
    let answer = Answer(http::Answer {
        status: 200,
        headers: Default::default(),
        body: Vec::new(),
        end: http::End::Whole,
    });
    let something = "Something went wrong while executing your query on 2026-11-30T04:48:34+00:00. This may be the \
                     result of a timeout, or it could be a GitHub bug. Please include `8D8C:2C` when reporting this issue.";
    for (kind, words, want) in [
        (json!("RATE_LIMITED"), "API rate limit exceeded", "limit"),
        (json!("FORBIDDEN"), "You have exceeded a secondary rate limit", "limit"),
        (json!("UNPROCESSABLE"), "was submitted too quickly", "limit"),
        (json!("UNPROCESSABLE"), "Body is too long", "refused"),
        (json!("INTERNAL"), "x", "in doubt"),
        (json!(null), something, "in doubt"),
        (json!("FORBIDDEN"), "Resource not accessible", "refused"),
        (json!("NOT_FOUND"), "Could not resolve to a node", "refused"),
    ] {
        let error = json!({ "type": kind, "message": words });
        let told = match refusal(&answer, &error, of_discussion("the comment"), Speaker::Token) {
            PluginError::Retry { in_doubt: true, .. } => "in doubt",
            PluginError::Retry { after_ms: Some(60_000), account: true, .. } => "limit",
            PluginError::Refused { .. } => "refused",
            _ => "another",
        };
        assert_eq!(told, want, "{kind} {words}");
    }
}
