//! Instants, calendar days and time zones. This module reads no clock.

use std::fmt;
use std::str::FromStr;

use super::{Invalid, string_value};

/// An instant in UTC with microseconds, written as RFC 3339, from 1900-01-01 to 2200-01-01.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// 1900-01-01 and 2200-01-01 in microseconds since 1970.
const EARLIEST: i64 = -2_208_988_800_000_000;
const LATEST: i64 = 7_258_118_400_000_000;

impl Timestamp {
    /// Converts microseconds since 1970-01-01T00:00:00Z, clamped to the range of this type.
    pub fn from_micros(micros: i64) -> Self {
        Self(micros.clamp(EARLIEST, LATEST))
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// The instant this many seconds later.
    pub fn after(self, seconds: Seconds) -> Self {
        Self::from_micros(self.0.saturating_add(seconds.0.saturating_mul(1_000_000)))
    }

    /// Whole seconds since an earlier instant; negative if that is later.
    pub fn seconds_since(self, earlier: Self) -> Seconds {
        Seconds(self.0.saturating_sub(earlier.0).div_euclid(1_000_000))
    }

    /// Calendar day of this instant in a zone.
    pub fn date_in(self, zone: &Zone) -> Date {
        Date(self.instant().to_zoned(zone.0.clone()).date())
    }

    fn instant(self) -> jiff::Timestamp {
        // The range of this type lies inside that of jiff.
        jiff::Timestamp::from_microsecond(self.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
    }
}

impl FromStr for Timestamp {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text.parse::<jiff::Timestamp>() {
            Ok(instant) if (EARLIEST..LATEST).contains(&instant.as_microsecond()) => Ok(Self(instant.as_microsecond())),
            _ => Invalid::because("expected an instant such as 2026-11-20T12:00:00Z between 1900 and 2200"),
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.instant().fmt(f)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

string_value!(Timestamp, "Timestamp", { "type": "string", "format": "date-time" });

/// A duration in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seconds(pub i64);

/// A calendar day, written `2026-11-20`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date(jiff::civil::Date);

impl Date {
    /// The Monday of the week of this day.
    pub fn week(self) -> Self {
        let days = jiff::Span::new().days(self.0.weekday().to_monday_zero_offset());
        Self(self.0.checked_sub(days).unwrap_or(self.0))
    }

    /// The first day of the month of this day.
    pub fn month(self) -> Self {
        Self(self.0.first_of_month())
    }

    /// Year of the day.
    pub fn year(self) -> i16 {
        self.0.year()
    }
}

impl FromStr for Date {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text.parse::<jiff::civil::Date>() {
            Ok(day) if text.len() == 10 && (1900..2200).contains(&day.year()) => Ok(Self(day)),
            _ => Invalid::because("expected a day such as 2026-11-20 between 1900 and 2200"),
        }
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

string_value!(Date, "Date", { "type": "string", "format": "date" });

/// A time zone of the IANA database, such as `Europe/Berlin`. The database is built into the program, so that all
/// machines use the same version.
#[derive(Clone, PartialEq, Eq)]
pub struct Zone(jiff::tz::TimeZone);

impl Zone {
    /// Coordinated universal time.
    pub const UTC: Self = Self(jiff::tz::TimeZone::UTC);
}

impl FromStr for Zone {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match jiff::tz::TimeZone::get(text) {
            Ok(zone) if zone.iana_name().is_some() => Ok(Self(zone)),
            _ => Invalid::because("expected an IANA time zone such as Europe/Berlin"),
        }
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.iana_name().unwrap_or("UTC"))
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

string_value!(Zone, "Zone", { "type": "string", "maxLength": 64 });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instant_keeps_its_microseconds_and_malformed_ones_are_refused() {
        let text = "2026-11-20T12:00:00.123456Z";
        assert_eq!(text.parse::<Timestamp>().map(|t| t.to_string()).as_deref(), Ok(text));
        for bad in
            ["", "2026-11-20", "0000-01-01T00:00:00Z", "9999-01-01T00:00:00Z", "1763640000", "2026-11-20T12:00:00"]
        {
            assert!(bad.parse::<Timestamp>().is_err(), "{bad}");
        }
    }

    #[test]
    fn week_begins_on_monday_and_month_on_its_first_day() {
        let day = |text: &str| text.parse::<Date>().expect("a day");
        assert_eq!(day("2026-11-22").week(), day("2026-11-16"));
        assert_eq!(day("2026-11-16").week(), day("2026-11-16"));
        assert_eq!(day("2027-01-02").week(), day("2026-12-28"));
        assert_eq!(day("2026-11-22").month(), day("2026-11-01"));
    }

    #[test]
    fn day_follows_the_zone_across_daylight_saving() {
        let zone: Zone = "Europe/Berlin".parse().expect("a zone");
        let late: Timestamp = "2026-03-29T22:30:00Z".parse().expect("an instant");
        assert_eq!(late.date_in(&zone).to_string(), "2026-03-30");
        assert_eq!(late.date_in(&"UTC".parse().expect("a zone")).to_string(), "2026-03-29");
        assert!("Mars/Olympus".parse::<Zone>().is_err());
    }
}
