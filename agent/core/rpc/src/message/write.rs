//! The options of a write.

use super::Flat;
use lictor_state::RequestId;
use lictor_wire::Str;
use serde::de::{MapAccess, SeqAccess};
use serde::ser::SerializeStruct;

/// The options of a write.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WriteRequest {
    /// Who asks.
    pub token: Str,
    /// By which a second copy of the request is known. Consul's servers skip it, as they skip all
    /// that they do not know; it is left out where there is none.
    pub request: Option<RequestId>,
}

const TOKEN: &str = "Token";
const REQUEST: &str = "LictorRequest";

impl Flat for WriteRequest {
    const NAME: &'static str = "WriteRequest";
    const FIELDS: usize = 2;

    fn left_out(&self) -> usize {
        usize::from(self.request.is_none())
    }

    fn put<S: SerializeStruct>(&self, out: &mut S) -> Result<(), S::Error> {
        out.serialize_field(TOKEN, &self.token)?;
        match &self.request {
            Some(request) => out.serialize_field(REQUEST, request),
            None => Ok(()),
        }
    }

    fn take<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
        match key {
            TOKEN => self.token = map.next_value()?,
            REQUEST => self.request = map.next_value()?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn take_in_order<'de, A: SeqAccess<'de>>(&mut self, seq: &mut A) -> Result<bool, A::Error> {
        // An array holds what Consul has.
        let Some(token) = seq.next_element()? else {
            return Ok(false);
        };
        self.token = token;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use crate::message::{DcSpecificRequest, KvsRequest};
    use crate::{from_slice, to_vec};

    #[test]
    fn the_number_of_a_request_travels_only_where_there_is_one() {
        let mut request = KvsRequest::default();
        let plain = to_vec(&request).unwrap();
        assert!(!plain.windows(6).any(|w| w == b"Lictor"));
        request.write.request = Some((u64::MAX, 7, 3).into());
        let numbered = to_vec(&request).unwrap();
        assert_eq!(from_slice::<KvsRequest>(&numbered).unwrap(), request);
        assert_eq!(
            from_slice::<KvsRequest>(&plain).unwrap().write.request,
            None
        );
        // Who does not know it skips it.
        let other: DcSpecificRequest = from_slice(&numbered).unwrap();
        assert_eq!(other, DcSpecificRequest::default());
    }
}
