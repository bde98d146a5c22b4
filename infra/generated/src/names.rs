//! Names of generated types as constants, which is what the kernels take.

const DIGITS: &[u8; 10] = b"0123456789";

/// Replaces the last two bytes of a name with the digits of a number below 100.
pub(crate) const fn numbered<const LENGTH: usize>(mut name: [u8; LENGTH], number: usize) -> [u8; LENGTH] {
    name[LENGTH - 2] = DIGITS[number / 10 % 10];
    name[LENGTH - 1] = DIGITS[number % 10];
    name
}

/// The name as text; empty unless it is ASCII.
pub(crate) const fn text(name: &[u8]) -> &str {
    match str::from_utf8(name) {
        Ok(text) => text,
        Err(_) => "",
    }
}
