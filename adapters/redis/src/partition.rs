//! Which stream a trace goes to.

use rappel_core::RunId;

/// Returns the partition of a trace: the last 8 bytes of its root's id as a big-endian number, modulo
/// `partitions` (minimum 1).
///
/// The page `docs/redis.md` of the repository has more test vectors.
///
/// ```
/// use rappel_redis::partition_of;
///
/// let root = "018f4e2a-0000-7000-8000-0000000000ff".parse().unwrap();
/// assert_eq!(partition_of(root, 16), 15);
/// assert_eq!(partition_of(root, 7), 4);
/// ```
#[must_use]
pub fn partition_of(root: RunId, partitions: u32) -> u32 {
    let [.., a, b, c, d, e, f, g, h] = *root.as_bytes();
    let number = u64::from_be_bytes([a, b, c, d, e, f, g, h]) % u64::from(partitions.max(1));
    // It is smaller than a `u32`.
    u32::try_from(number).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::partition_of;

    #[test]
    fn the_vectors_of_the_page_hold() {
        let page = include_str!("../../../docs/redis.md");
        let section = page.split_once("<!-- partition vectors -->").unwrap().1;
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
        let mut checked = 0;
        for row in rows.take_while(|row| row.len() > 36) {
            let (root, rest) = row.split_once('`').unwrap();
            let numbers: Vec<u32> =
                rest.split('|').filter_map(|cell| cell.trim().parse().ok()).collect();
            let [partitions, partition] = numbers[..] else { panic!("{row}") };
            assert_eq!(partition_of(root.parse().unwrap(), partitions), partition, "{row}");
            checked += 1;
        }
        assert!(checked >= 6, "{checked} vectors");
    }
}
