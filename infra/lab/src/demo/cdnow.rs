//! CDNOW purchase records of a real music shop: 69,659 lines after a header, with CRLF line ends.

use anyhow::{Context, Result, ensure};
use domain::shared::{Currency, Date};

/// `infra/lab/data/cdnow/README.md` names the source.
const FILE: &str = include_str!("../../data/cdnow/CDNOW_master.txt");

/// One line: number and total price of the CDs that a customer bought on a day. 215 lines are repeated and stay in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Purchase {
    /// Line number from 1 without the header; distinguishes equal lines.
    pub(super) line: usize,
    /// Customer number of the shop (`00001`).
    pub(super) customer: String,
    pub(super) day: Date,
    pub(super) units: i64,
    /// Total price in cents.
    pub(super) minor: i64,
}

/// Parses all purchases, in the order of the file.
pub(super) fn purchases() -> Result<Vec<Purchase>> {
    let mut lines = FILE.lines();
    ensure!(lines.next().is_some_and(|header| header.contains("customer_id")), "the file has no header");
    (1..).zip(lines).map(|(line, text)| parse(line, text).with_context(|| format!("line {line}: {text:?}"))).collect()
}

/// Currency of all purchases.
pub(super) fn currency() -> Result<Currency> {
    Ok("USD".parse()?)
}

fn parse(line: usize, text: &str) -> Result<Purchase> {
    let mut fields = text.split_ascii_whitespace();
    let mut field = || fields.next().context("a field is missing");
    let (customer, day, units, amount) = (field()?.to_owned(), field()?, field()?, field()?);
    ensure!(day.len() == 8 && day.is_ascii(), "the date is not YYYYMMDD");
    let day = format!("{}-{}-{}", &day[..4], &day[4..6], &day[6..]).parse()?;
    let (whole, cents) = amount.split_once('.').context("the amount has no decimal point")?;
    ensure!(cents.len() == 2, "the amount has no two decimals");
    let minor = whole.parse::<i64>()? * 100 + cents.parse::<i64>()?;
    Ok(Purchase { line, customer, day, units: units.parse()?, minor })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn file_has_the_totals_of_its_readme() {
        let all = purchases().expect("CDNOW_master.txt can be parsed");
        assert_eq!(all.len(), 69_659);
        assert_eq!(all.iter().map(|purchase| &purchase.customer).collect::<BTreeSet<_>>().len(), 23_570);
        assert_eq!(all.iter().map(|purchase| purchase.minor).sum::<i64>(), 250_031_563);
        assert_eq!(all.iter().filter(|purchase| purchase.minor == 0).count(), 80);
        assert_eq!(all[0].day.to_string(), "1997-01-01");
    }
}
