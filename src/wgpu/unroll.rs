//! Loops of a kernel's text, written out. A line
//!
//! ```wgsl
//! for (var i = 0u; i < ROWS; i++) { // unrolled
//! ```
//!
//! begins a loop whose body takes its place once for each value of `i`, which is a constant there; ROWS is a number or a
//! `const` of the text. An array that constants alone index stays in registers; compilers of drivers cannot be relied on
//! to see as much in a loop (Mesa's llvmpipe keeps the array in memory, and a convolution takes twice as long). Such a
//! body contains no `break` or `continue` of its own loop.

use std::collections::HashMap;

/// Writes out the marked loops of a text.
pub(super) fn unroll(text: &str) -> Result<String, String> {
    if !text.contains(MARK) {
        return Ok(text.to_owned());
    }
    let mut out = String::with_capacity(2 * text.len());
    write(&text.lines().collect::<Vec<_>>(), &mut constants(text), &mut out)?;
    Ok(out)
}

const MARK: &str = "// unrolled";

type Constants = HashMap<String, i64>;

/// The `const NAME: u32 = …;` of a text whose values follow from numbers and each other.
fn constants(text: &str) -> Constants {
    let mut known = Constants::new();
    for line in text.lines() {
        let Some((name, value)) = line.strip_prefix("const ").and_then(|rest| rest.split_once(": u32 = "))
        else {
            continue;
        };
        let value = value.split(';').next().and_then(|value| evaluate(value, &known));
        known.extend(value.map(|value| (name.to_owned(), value)));
    }
    known
}

fn write(lines: &[&str], known: &mut Constants, out: &mut String) -> Result<(), String> {
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        at += 1;
        let Some(head) = line.trim_end().strip_suffix(MARK) else {
            out.push_str(line);
            out.push('\n');
            continue;
        };
        let parsed = head_of(head).and_then(|(name, count)| Some((name, evaluate(count, known)?)));
        let (name, count) =
            parsed.ok_or_else(|| format!("`{}` is not a loop that can be written out", line.trim()))?;
        let length = body(&lines[at..]).ok_or_else(|| format!("`{}` has no end", line.trim()))?;
        for value in 0..count {
            out.push_str(&format!("{{ const {name} = {value}u;\n"));
            let outer = known.insert(name.to_owned(), value);
            write(&lines[at..at + length], known, out)?;
            match outer {
                Some(outer) => known.insert(name.to_owned(), outer),
                None => known.remove(name),
            };
            out.push_str("}\n");
        }
        at += length + 1;
    }
    Ok(())
}

/// Name and bound of `for (var NAME = 0u; NAME < BOUND; NAME++) {`.
fn head_of(head: &str) -> Option<(&str, &str)> {
    let rest = head.trim().strip_prefix("for (var ")?.strip_suffix("++) {")?;
    let (name, rest) = rest.split_once(" = 0u; ")?;
    let bound = rest.strip_prefix(name)?.strip_prefix(" < ")?.strip_suffix(name)?.strip_suffix("; ")?;
    Some((name, bound))
}

/// How many lines come before the one that closes the block.
fn body(lines: &[&str]) -> Option<usize> {
    let mut depth = 1;
    lines.iter().position(|line| {
        for c in line.split("//").next().unwrap_or("").chars() {
            depth += match c {
                '{' => 1,
                '}' => -1,
                _ => 0,
            };
        }
        depth == 0
    })
}

/// The value of sums, differences, products and quotients of numbers and known names.
fn evaluate(text: &str, known: &Constants) -> Option<i64> {
    let (value, rest) = sum(text, known)?;
    rest.trim().is_empty().then_some(value)
}

fn sum<'t>(text: &'t str, known: &Constants) -> Option<(i64, &'t str)> {
    let (mut value, mut rest) = product(text, known)?;
    loop {
        let (operator, after) = operator(rest, "+-");
        let Some(operator) = operator else { return Some((value, rest)) };
        let (right, next) = product(after, known)?;
        value = if operator == '+' { value.checked_add(right)? } else { value.checked_sub(right)? };
        rest = next;
    }
}

fn product<'t>(text: &'t str, known: &Constants) -> Option<(i64, &'t str)> {
    let (mut value, mut rest) = operand(text, known)?;
    loop {
        let (operator, after) = operator(rest, "*/%");
        let Some(operator) = operator else { return Some((value, rest)) };
        let (right, next) = operand(after, known)?;
        value = match operator {
            '*' => value.checked_mul(right)?,
            '/' => value.checked_div(right)?,
            _ => value.checked_rem(right)?,
        };
        rest = next;
    }
}

fn operator<'t>(text: &'t str, of: &str) -> (Option<char>, &'t str) {
    let text = text.trim_start();
    match text.chars().next() {
        Some(c) if of.contains(c) => (Some(c), &text[1..]),
        _ => (None, text),
    }
}

fn operand<'t>(text: &'t str, known: &Constants) -> Option<(i64, &'t str)> {
    let text = text.trim_start();
    if let Some(inner) = text.strip_prefix('(') {
        let (value, rest) = sum(inner, known)?;
        return Some((value, rest.trim_start().strip_prefix(')')?));
    }
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let value = known.get(word).copied().or_else(|| word.strip_suffix('u').unwrap_or(word).parse().ok())?;
    Some((value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked_loops_are_written_out_and_others_are_not() {
        let text = "const N: u32 = 4u; // elements\n\
                    const HALF: u32 = (N + 1u) / 2u - 1u + N % 4u;\n\
                    for (var i = 0u; i < N; i++) {\n}\n\
                    for (var i = 0u; i < 2u * HALF; i++) { // unrolled\n\
                    if a[i] { // }\n\
                    for (var j = 0u; j < i; j++) { // unrolled\n\
                    b[i + j] = 0;\n\
                    }\n\
                    }\n\
                    }\n\
                    after\n";
        let first = "{ const i = 0u;\nif a[i] { // }\n}\n}\n";
        let second = "{ const i = 1u;\nif a[i] { // }\n{ const j = 0u;\nb[i + j] = 0;\n}\n}\n}\n";
        let before = text.find("for (var i = 0u; i < 2u").unwrap();
        assert_eq!(unroll(text).unwrap(), format!("{}{first}{second}after\n", &text[..before]));
        assert_eq!(unroll("no loop").unwrap(), "no loop");
    }

    #[test]
    fn loops_that_cannot_be_written_out_are_named() {
        for (text, says) in [
            ("for (var i = 0u; i < UNKNOWN; i++) { // unrolled\n}", "UNKNOWN"),
            ("for (var i = 1u; i < 4u; i++) { // unrolled\n}", "i = 1u"),
            ("for (var i = 0u; i < 4u; i += 2u) { // unrolled\n}", "i += 2u"),
            ("for (var i = 0u; i < 4u / 0u; i++) { // unrolled\n}", "4u / 0u"),
            ("for (var i = 0u; i < 4u; i++) { // unrolled\n", "no end"),
        ] {
            let error = unroll(text).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
