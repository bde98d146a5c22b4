//! The purchases of a real music shop, as they were published: 69,659 lines under a header, with CRLF line ends.

use anyhow::{Context, Result, ensure};
use domain::shared::{Currency, Date};

/// See `infra/data/cdnow/README.md` for where it comes from.
const FILE: &str = include_str!("../../data/cdnow/CDNOW_master.txt");

/// One line: a customer bought so many CDs for so much on a day. 215 lines occur more than once and are real.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Purchase {
    /// From 1, the header not counted; tells equal lines apart.
    pub(super) line: usize,
    /// As the shop numbered them (`00001`).
    pub(super) customer: String,
    pub(super) day: Date,
    pub(super) units: i64,
    /// Cents.
    pub(super) minor: i64,
}

/// All purchases, in the order of the file.
pub(super) fn purchases() -> Result<Vec<Purchase>> {
    let mut lines = FILE.lines();
    ensure!(lines.next().is_some_and(|header| header.contains("customer_id")), "the file has no header");
    (1..).zip(lines).map(|(line, text)| read(line, text).with_context(|| format!("line {line}: {text:?}"))).collect()
}

/// What the shop was paid in.
pub(super) fn currency() -> Result<Currency> {
    Ok("USD".parse()?)
}

fn read(line: usize, text: &str) -> Result<Purchase> {
    let mut words = text.split_ascii_whitespace();
    let mut word = || words.next().context("a word is missing");
    let (customer, day, units, amount) = (word()?.to_owned(), word()?, word()?, word()?);
    ensure!(day.len() == 8 && day.is_ascii(), "no day");
    let day = format!("{}-{}-{}", &day[..4], &day[4..6], &day[6..]).parse()?;
    let (whole, cents) = amount.split_once('.').context("no amount")?;
    ensure!(cents.len() == 2, "no cents");
    let minor = whole.parse::<i64>()? * 100 + cents.parse::<i64>()?;
    Ok(Purchase { line, customer, day, units: units.parse()?, minor })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_file_holds_what_its_note_says() {
        let all = purchases().expect("the file reads");
        assert_eq!(all.len(), 69_659);
        assert_eq!(all.iter().map(|purchase| &purchase.customer).collect::<BTreeSet<_>>().len(), 23_570);
        assert_eq!(all.iter().map(|purchase| purchase.minor).sum::<i64>(), 250_031_563);
        assert_eq!(all.iter().filter(|purchase| purchase.minor == 0).count(), 80);
        assert_eq!(all[0].day.to_string(), "1997-01-01");
    }
}
