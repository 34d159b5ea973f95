//! Columns.

/// Rows in columns, two blanks apart; no blanks at the ends of lines, no line end after the last.
pub(crate) fn columns(rows: &[Vec<String>]) -> String {
    aligned(rows, 2)
}

/// Rows in columns, `gap` blanks apart.
pub(crate) fn aligned(rows: &[Vec<String>], gap: usize) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count)
        .map(|i| {
            rows.iter()
                .filter_map(|r| r.get(i))
                .map(|c| c.chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let lines: Vec<String> = rows
        .iter()
        .map(|row| {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(cell);
                line.extend(std::iter::repeat_n(' ', width - cell.chars().count() + gap));
            }
            line.truncate(line.trim_end().len());
            line
        })
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            vec!["Node".into(), "ID".into(), "DC".into()],
            vec!["n\u{e9}".into(), String::new(), "dc1".into()],
        ];
        assert_eq!(columns(&rows), "Node  ID  DC\nn\u{e9}        dc1");
        assert_eq!(aligned(&[vec!["a".into(), "b".into()]], 6), "a      b");
        assert_eq!(columns(&[]), "");
    }
}
