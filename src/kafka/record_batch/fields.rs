//! Reads fields from the front of untrusted bytes; `None` if a field is incomplete.

/// The bytes of offset and length, which stand before what the length counts, in all formats.
pub(super) const PREFIX: usize = 12;

/// The bytes not read yet.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn remaining(&self) -> usize {
        self.0.len()
    }

    #[inline]
    pub(crate) fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*bytes)
    }

    #[inline]
    pub(crate) fn i8(&mut self) -> Option<i8> {
        self.array().map(i8::from_be_bytes)
    }

    #[inline]
    pub(crate) fn i16(&mut self) -> Option<i16> {
        self.array().map(i16::from_be_bytes)
    }

    #[inline]
    pub(crate) fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_be_bytes)
    }

    #[inline]
    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    #[inline]
    pub(crate) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }

    /// A zigzag varint of at most 32 bits, which mostly takes one or two bytes.
    #[inline]
    pub(crate) fn varint(&mut self) -> Option<i32> {
        match *self.0 {
            [a, ref rest @ ..] if a < 0x80 => {
                self.0 = rest;
                Some(unzigzag32(u32::from(a)))
            }
            [a, b, ref rest @ ..] if b < 0x80 => {
                self.0 = rest;
                Some(unzigzag32(u32::from(a & 0x7f) | u32::from(b) << 7))
            }
            _ => u32::try_from(self.groups()?).ok().map(unzigzag32),
        }
    }

    /// The same with at most 64 bits.
    #[inline]
    pub(crate) fn varlong(&mut self) -> Option<i64> {
        match *self.0 {
            [a, ref rest @ ..] if a < 0x80 => {
                self.0 = rest;
                Some(unzigzag64(u64::from(a)))
            }
            _ => self.groups().map(unzigzag64),
        }
    }

    fn groups(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            let group = u64::from(byte & 0x7f);
            if group.leading_zeros() < shift {
                return None;
            }
            number |= group << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }
}

#[inline]
fn unzigzag32(number: u32) -> i32 {
    (number >> 1) as i32 ^ -((number & 1) as i32)
}

#[inline]
fn unzigzag64(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

/// Appends a zigzag number.
pub(super) fn put_varlong(out: &mut Vec<u8>, number: i64) {
    let mut rest = ((number << 1) ^ (number >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// The number of bytes that [`put_varlong`] writes.
pub(super) fn varlong_len(number: i64) -> usize {
    let bits = 64 - (((number << 1) ^ (number >> 63)) as u64 | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn reads_what_was_written(number in prop_oneof![any::<i64>(), -70_000i64..70_000]) {
            let mut bytes = Vec::new();
            put_varlong(&mut bytes, number);
            prop_assert_eq!(bytes.len(), varlong_len(number));
            bytes.push(0xff);
            let mut fields = Fields(&bytes);
            prop_assert_eq!(fields.varlong(), Some(number));
            prop_assert_eq!(fields.remaining(), 1);
            let mut fields = Fields(&bytes);
            prop_assert_eq!(fields.varint(), i32::try_from(number).ok());
            for cut in 0..bytes.len() - 1 {
                prop_assert_eq!(Fields(&bytes[..cut]).varlong(), None);
                prop_assert_eq!(Fields(&bytes[..cut]).varint(), None);
            }
        }
    }

    #[test]
    fn refuses_numbers_that_do_not_fit() {
        assert_eq!(Fields(&[0xff, 0xff, 0xff, 0xff, 0x0f]).varint(), Some(i32::MIN));
        assert_eq!(Fields(&[0xff, 0xff, 0xff, 0xff, 0x1f]).varint(), None);
        assert_eq!(Fields(&[0xff; 11]).varint(), None);
        assert_eq!(
            Fields(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]).varlong(),
            Some(i64::MIN)
        );
        assert_eq!(Fields(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]).varlong(), None);
        assert_eq!(Fields(&[0xff; 11]).varlong(), None);
    }
}
