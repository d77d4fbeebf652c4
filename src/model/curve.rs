//! Curves drawn with characters, for the terminal.

/// Characters across and lines high; a character of braille has 2 × 4 dots.
const SIZE: [usize; 2] = [56, 6];

/// What a cell looks like in ASCII: its upper half, its lower half, both or nothing.
const PLAIN: [char; 4] = [' ', '\'', '.', ':'];

/// Lines over epochs that are counted from `first`, in one picture, with the largest and the smallest value beside it.
/// Values that are not finite leave a gap. Without `unicode`, a cell is as coarse as ASCII.
pub(super) fn curve(lines: &[Vec<f64>], first: usize, unicode: bool) -> String {
    let [width, height] = SIZE;
    let [columns, rows] = [2 * width - 1, 4 * height - 1];
    let finite = lines.iter().flatten().copied().filter(|value| value.is_finite());
    let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), value| (l.min(value), h.max(value)));
    let epochs = lines.iter().map(Vec::len).max().unwrap_or(0);

    let mut cells = vec![0; width * height];
    for line in lines {
        for column in 0..=columns {
            // the epoch at this column, between two that were measured
            let at = column as f64 / columns as f64 * epochs.saturating_sub(1) as f64;
            let Some(before) = line.get(at.floor() as usize) else { continue };
            let after = line.get(at.ceil() as usize).unwrap_or(before);
            let value = before + (after - before) * at.fract();
            if value.is_finite() {
                let share = if high > low { (high - value) / (high - low) } else { 0.5 };
                let row = (share * rows as f64).round() as usize;
                cells[row / 4 * width + column / 2] |= dot(column % 2, row % 4);
            }
        }
    }

    let label = |value: f64| if value.is_finite() { format!("{value:.4}") } else { String::new() };
    let labels = [label(high), label(low)];
    let margin = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0);
    let mut picture = String::new();
    for (row, cells) in cells.chunks_exact(width).enumerate() {
        let label = match row {
            0 => &labels[0],
            _ if row + 1 == height => &labels[1],
            _ => "",
        };
        let dots: String = cells.iter().map(|&cell| if unicode { braille(cell) } else { plain(cell) }).collect();
        let axis = if unicode { '┤' } else { '|' };
        picture += &format!("{label:>margin$} {axis}{}\n", dots.trim_end_matches(['\u{2800}', ' ']));
    }
    let last = first.saturating_add(epochs).saturating_sub(1).to_string();
    picture + &format!("{:margin$}  {first:<rest$}{last}", "", rest = width - last.len())
}

fn braille(cell: u32) -> char {
    char::from_u32(0x2800 + cell).expect("braille")
}

fn plain(cell: u32) -> char {
    let half = |rows: [usize; 2]| rows.iter().any(|&row| cell & (dot(0, row) | dot(1, row)) != 0);
    PLAIN[usize::from(half([0, 1])) + 2 * usize::from(half([2, 3]))]
}

/// The bit of a dot in the numbering of braille patterns.
fn dot(column: usize, row: usize) -> u32 {
    [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]][column][row]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_falls_from_its_corner_to_the_other() {
        let picture = curve(&[vec![1.0, 0.0]], 1, true);
        let lines: Vec<&str> = picture.lines().collect();
        assert_eq!(lines.len(), SIZE[1] + 1);
        assert!(lines[0].starts_with("1.0000 ┤⠉"), "{picture}");
        assert!(lines[5].starts_with("0.0000 ┤⠀"), "{picture}");
        assert!(lines[5].ends_with('⣀'), "{picture}");
        assert_eq!(lines[6], format!("        1{}2", " ".repeat(SIZE[0] - 2)));
    }

    #[test]
    fn ascii_has_the_shape_of_the_line() {
        let picture = curve(&[vec![1.0, 0.0]], 1, false);
        let lines: Vec<&str> = picture.lines().collect();
        assert!(lines[0].starts_with("1.0000 |''"), "{picture}");
        assert!(lines[5].starts_with("0.0000 |  ") && lines[5].ends_with(".."), "{picture}");
    }

    #[test]
    fn whatever_was_measured_can_be_drawn() {
        for lines in [
            vec![],
            vec![vec![]],
            vec![vec![0.5]],
            vec![vec![0.5; 3]],
            vec![vec![f64::NAN, 1.0, f64::INFINITY], vec![2.0]],
            vec![vec![f64::MAX, f64::MIN]],
            vec![vec![f64::NAN; 3]],
            vec![(0..10_000).map(f64::from).collect()],
        ] {
            for first in [1, usize::MAX - 20_000, usize::MAX] {
                let [picture, plain] = [true, false].map(|unicode| curve(&lines, first, unicode));
                assert_eq!(picture.lines().count(), SIZE[1] + 1, "{picture}");
                assert!(plain.is_ascii() && plain.lines().count() == SIZE[1] + 1, "{plain}");
            }
        }
    }
}
