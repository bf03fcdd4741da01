package intake

import (
	"encoding/json"
	"math"
	"strconv"
	"unicode/utf8"
)

// scanner reads JSON values off b. It accepts exactly what RFC 8259 calls a
// value; the first fault stops it. It exists because of what a message costs on
// a gateway: for a message of ten keys BenchmarkJSON, topic and all, takes 0.45 µs
// and makes no garbage, BenchmarkEncodingJSON 2.0 µs and 19 objects before it has
// looked at anything (2-core x86, Go 1.26). FuzzJSON holds the two against each
// other.
type scanner struct {
	b   []byte
	i   int
	at  int    // where err is
	err string // the first fault, "" = none
}

func (s *scanner) fail(what string) {
	if s.err == "" {
		s.err, s.at = what, s.i
	}
	s.i = len(s.b)
}

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

// peek is the next byte, 0 at the end.
func (s *scanner) peek() byte {
	if s.i < len(s.b) {
		return s.b[s.i]
	}
	return 0
}

func (s *scanner) eat(c byte) bool {
	if s.i < len(s.b) && s.b[s.i] == c {
		s.i++
		return true
	}
	return false
}

func (s *scanner) word(w string) bool {
	if len(s.b)-s.i >= len(w) && string(s.b[s.i:s.i+len(w)]) == w {
		s.i += len(w)
		return true
	}
	return false
}

// kind names the next value's type, for a person.
func (s *scanner) kind() string {
	switch c := s.peek(); {
	case c == '"':
		return "a string"
	case c == '{':
		return "an object"
	case c == '[':
		return "an array"
	case c == 't' || c == 'f':
		return "true or false"
	case c == 'n':
		return "null"
	}
	return "a number"
}

// string reads a string. What it returns shares b's memory unless an escape had
// to be undone.
func (s *scanner) string() []byte {
	if !s.eat('"') {
		s.fail("want a string")
		return nil
	}
	begin, plain := s.i, true
	for s.i < len(s.b) {
		switch c := s.b[s.i]; {
		case c == '"':
			text := s.b[begin:s.i]
			s.i++
			if plain {
				return text
			}
			return unescape(s.b[begin-1 : s.i])
		case c < ' ':
			s.fail("a control character in a string")
			return nil
		case c == '\\':
			plain = false
			if !s.escape() {
				return nil
			}
		default:
			plain = plain && c < utf8.RuneSelf
			s.i++
		}
	}
	s.fail("a string without an end")
	return nil
}

func (s *scanner) escape() bool {
	s.i++
	switch s.peek() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.i++
		return true
	case 'u':
		s.i++
		for range 4 {
			if !isHex(s.peek()) {
				s.fail("want four hexadecimal digits after \\u")
				return false
			}
			s.i++
		}
		return true
	}
	s.fail("an escape that JSON does not have")
	return false
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

// unescape is for the rare string that is not plain ASCII.
func unescape(quoted []byte) []byte {
	var text string
	if err := json.Unmarshal(quoted, &text); err != nil {
		panic("intake: encoding/json refuses a string that was checked: " + err.Error())
	}
	return []byte(text)
}

func (s *scanner) isNumber() bool {
	c := s.peek()
	return c == '-' || c >= '0' && c <= '9'
}

// digits passes over digits and adds them to n while it is exact.
func (s *scanner) digits(n uint64) (uint64, int) {
	begin := s.i
	for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
		n = n*10 + uint64(s.b[s.i]-'0') // may overflow; then its caller does not use it
		s.i++
	}
	return n, s.i - begin
}

// number passes over a number and says what it is made of: mantissa × 10^-point
// when simple, which is when it has at most 15 digits and no exponent.
func (s *scanner) number() (negative bool, mantissa uint64, point int, simple bool) {
	negative = s.eat('-')
	zero := s.peek() == '0'
	mantissa, n := s.digits(0)
	if n == 0 {
		s.fail("want a digit")
		return
	}
	if zero && n > 1 {
		s.fail("a number with a zero before it")
		return
	}
	simple = true
	if s.eat('.') {
		if mantissa, point = s.digits(mantissa); point == 0 {
			s.fail("want a digit after the point")
			return
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		simple = false
		s.i++
		if !s.eat('+') {
			s.eat('-')
		}
		if _, n := s.digits(0); n == 0 {
			s.fail("want a digit in the exponent")
		}
	}
	return negative, mantissa, point, simple && n+point <= 15
}

var powers = [...]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15}

// float reads a number. One too great for a float64 is an infinity.
func (s *scanner) float() float64 {
	begin := s.i
	negative, mantissa, point, simple := s.number()
	if s.err != "" {
		return 0
	}
	if !simple {
		f, _ := strconv.ParseFloat(string(s.b[begin:s.i]), 64) // its form was checked; out of range gives ±Inf
		return f
	}
	// Both are exact, so the one rounding of the division is the right one.
	f := float64(mantissa) / powers[point]
	if negative {
		return -f
	}
	return f
}

// integer reads a number; whole is false when it has a point, an exponent or
// more than 18 digits.
func (s *scanner) integer() (n int64, whole bool) {
	begin := s.i
	negative, mantissa, point, _ := s.number()
	length := s.i - begin
	for _, c := range s.b[begin:s.i] {
		if c == 'e' || c == 'E' {
			return 0, false
		}
	}
	if s.err != "" || point != 0 || length > 18 || mantissa > math.MaxInt64 {
		return 0, false
	}
	if negative {
		return -int64(mantissa), true
	}
	return int64(mantissa), true
}

// skip passes over any value.
func (s *scanner) skip() {
	s.space()
	switch c := s.peek(); {
	case c == '"':
		s.string()
	case c == '{':
		s.i++
		s.skipAll('}', true)
	case c == '[':
		s.i++
		s.skipAll(']', false)
	case s.isNumber():
		s.number()
	case s.word("true"), s.word("false"), s.word("null"):
	default:
		s.fail("want a value")
	}
}

// skipAll passes over what is left of an object or array. It recurses, at most
// as deep as a message of frame.MaxJSON bytes can be.
func (s *scanner) skipAll(end byte, keys bool) {
	s.space()
	if s.eat(end) {
		return
	}
	for s.err == "" {
		if keys {
			s.space()
			s.string()
			s.space()
			if s.err == "" && !s.eat(':') {
				s.fail("want : after a key")
			}
		}
		if s.err == "" {
			s.skip()
		}
		s.space()
		if s.eat(',') {
			continue
		}
		if s.err == "" && !s.eat(end) {
			s.fail("want , or an end")
		}
		return
	}
}
