//! ▢ Which web pages may read an answer (Fetch standard, section 3.2).

use super::Answer;
use crate::{limits::PREFLIGHT_S, ws::Head, ws::Refusal};

/// Who asks, as far as its browser tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reader {
    /// No page of another origin.
    Any,
    /// A page of this origin, which is allowed.
    Page(Box<str>),
}

impl Reader {
    /// Who sends the request of `head`; `allowed` are the origins of the configuration, of
    /// which an empty list has every one.
    ///
    /// # Errors
    /// 403: an origin that is not allowed, or not an origin.
    pub fn of(head: &Head<'_>, allowed: &[String]) -> Result<Self, Refusal> {
        let Some(origin) = head.single("Origin").map_err(|_| Refusal::origin())? else {
            return Ok(Self::Any);
        };
        let is_allowed =
            allowed.is_empty() || allowed.iter().any(|known| known.eq_ignore_ascii_case(origin));
        if is_allowed && origin.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self::Page(origin.into()))
        } else {
            Err(Refusal::origin())
        }
    }

    /// The answer, which this reader may read.
    pub fn let_read(&self, answer: Answer) -> Answer {
        // Caches must not give one page the answer to another.
        let answer = answer.field("Vary", "Origin");
        match self {
            Self::Any => answer,
            Self::Page(origin) => answer
                .field("Access-Control-Allow-Origin", origin)
                .field("Access-Control-Expose-Headers", "Retry-After"),
        }
    }

    /// The answer to `OPTIONS`, where `methods` are known.
    pub fn preflight(&self, methods: &'static str) -> Answer {
        let answer = self.let_read(Answer::no_content().field("Allow", methods));
        match self {
            Self::Any => answer,
            Self::Page(_) => answer
                .field("Access-Control-Allow-Methods", methods)
                .field("Access-Control-Allow-Headers", "Content-Type")
                .field("Access-Control-Max-Age", &PREFLIGHT_S.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ws::parse_head;

    fn reader(origin: &str, allowed: &[&str]) -> Result<Reader, u16> {
        let request = format!("GET / HTTP/1.1\r\n{origin}\r\n");
        let (head, _) = parse_head(request.as_bytes()).unwrap().unwrap();
        let allowed: Vec<String> = allowed.iter().map(ToString::to_string).collect();
        Reader::of(&head, &allowed).map_err(|refusal| refusal.status)
    }

    #[test]
    fn origins_are_those_of_the_configuration() {
        let page = |origin: &str| Ok(Reader::Page(origin.into()));
        let one = ["https://a.example"];
        assert_eq!(reader("", &one), Ok(Reader::Any));
        assert_eq!(reader("Origin: HTTPS://a.example\r\n", &one), page("HTTPS://a.example"));
        assert_eq!(reader("Origin: https://b.example\r\n", &one), Err(403));
        assert_eq!(reader("Origin: null\r\n", &one), Err(403));
        assert_eq!(reader("Origin: null\r\n", &[]), page("null"));
        assert_eq!(reader("Origin: a b\r\n", &[]), Err(403), "one, and no text");
        assert_eq!(reader("Origin: a\r\nOrigin: a\r\n", &[]), Err(403));
    }

    #[test]
    fn a_page_may_read_its_answer_and_ask_before() {
        let text = |answer: Answer| {
            let mut out = Vec::new();
            answer.write(&mut out);
            String::from_utf8(out).unwrap()
        };
        let page = Reader::Page("https://a.example".into());
        let answer = text(page.let_read(Answer::json(200, "{}".into())));
        assert!(answer.contains("Access-Control-Allow-Origin: https://a.example\r\n"), "{answer}");
        assert!(answer.contains("Vary: Origin\r\n"), "{answer}");
        let preflight = text(page.preflight("POST, OPTIONS"));
        assert!(preflight.starts_with("HTTP/1.1 204 "), "{preflight}");
        for field in ["Access-Control-Allow-Methods: POST, OPTIONS\r\n", "Max-Age: 600\r\n"] {
            assert!(preflight.contains(field), "{preflight}");
        }
        let plain = text(Reader::Any.preflight("POST, OPTIONS"));
        assert!(plain.contains("Allow: POST, OPTIONS\r\n") && !plain.contains("Access-Control"));
    }
}
