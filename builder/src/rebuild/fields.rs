//! Whether two releases say the same, field by field.

use countersign_metadata::Release;
use serde_json::Value;

/// The first field that differs, by its name as it is written (`node.command`).
pub(super) fn first_difference(one: &Release, other: &Release) -> Option<String> {
    if one == other {
        return None;
    }
    let field = match (serde_json::to_value(one), serde_json::to_value(other)) {
        (Ok(one), Ok(other)) => differing(&one, &other),
        _ => None,
    };
    // Unequal releases that are written alike are no less unequal.
    Some(field.unwrap_or_else(|| "content".to_owned()))
}

/// The path to the first difference, empty where the values themselves differ.
fn differing(one: &Value, other: &Value) -> Option<String> {
    if one == other {
        return None;
    }
    let (Value::Object(first), Value::Object(second)) = (one, other) else {
        return Some(String::new());
    };
    let names = first.keys().chain(second.keys().filter(|name| !first.contains_key(*name)));
    names.into_iter().find_map(|name| {
        let null = &Value::Null;
        let below = differing(first.get(name).unwrap_or(null), second.get(name).unwrap_or(null))?;
        Some(if below.is_empty() { name.clone() } else { format!("{name}.{below}") })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::differing;

    #[test]
    fn the_first_difference_is_named_by_its_path() {
        let one = json!({ "a": 1, "node": { "command": ["x"], "stop-grace": 10 } });
        let other = json!({ "a": 1, "node": { "command": ["y"], "stop-grace": 10 } });
        assert_eq!(differing(&one, &other).as_deref(), Some("node.command"));
        assert_eq!(differing(&one, &json!({ "a": 1 })).as_deref(), Some("node"));
        assert_eq!(differing(&json!({ "a": 1 }), &one).as_deref(), Some("node"));
        assert_eq!(differing(&one, &one), None);
    }
}
