//! Tables for a terminal: columns as wide as what is in them. Pure.

/// A line of names and one for each row; Chinese takes two places a character.
pub fn table<const N: usize>(
    names: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let rows: Vec<[String; N]> = rows.into_iter().collect();
    let mut widths = names.map(places);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(places(cell));
        }
    }
    let mut lines = line(names.iter().copied(), &widths);
    for row in &rows {
        lines += &line(row.iter().map(String::as_str), &widths);
    }
    lines
}

fn line<'a>(cells: impl Iterator<Item = &'a str>, widths: &[usize]) -> String {
    let mut line = String::new();
    for (cell, width) in cells.zip(widths) {
        line += cell;
        line += &" ".repeat(width - places(cell) + 2);
    }
    format!("{}\n", line.trim_end())
}

/// How many places of a terminal it takes.
fn places(text: &str) -> usize {
    let wide = |c: char| {
        matches!(c, '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}' | '\u{f900}'..='\u{faff}' | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}' | '\u{ffe0}'..='\u{ffe6}' | '\u{1f300}'..='\u{1faff}'
        | '\u{20000}'..='\u{3fffd}')
    };
    text.chars().map(|c| if wide(c) { 2 } else { 1 }).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_each_other_in_chinese_too() {
        let rows = [["仓库".into(), "1".into()], ["a".into(), "22".into()]];
        let told = table(["name", "n"], rows);
        assert_eq!(told, "name  n\n仓库  1\na     22\n");
        assert_eq!(table(["a"], []), "a\n");
    }
}
