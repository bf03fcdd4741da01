package wfdb

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// Annotation is a mark at one sample.
type Annotation struct {
	Sample int64
	Code   uint8 // what is marked: see Symbol
	Sub    int8
	Chan   int8
	Num    int8
	Aux    string // such as the name of a rhythm
}

// Codes that have a meaning here. The whole list is in ecgcodes.h of WFDB.
const (
	CodeNoise        = 14
	CodeRhythm       = 28 // the rhythm that Aux names begins
	CodeFlutterWave  = 31
	CodeFlutterBegin = 32
	CodeFlutterEnd   = 33
)

// Codes of the file format itself; they follow the annotation they belong to,
// but for codeSkip, which precedes it.
const (
	codeSkip = 59
	codeNum  = 60
	codeSub  = 61
	codeChan = 62
	codeAux  = 63
)

// symbols are the mnemonics of ecgcodes.h, from code 0.
var symbols = strings.Fields(`
	. N L R a V F J A S  E j / Q ~ . | . s T  * D " = p B ^ t + u
	? ! [ ] e n @ x f (  ) r`)

// Symbol is the annotation's usual one-letter name, or its number.
func (a Annotation) Symbol() string {
	if int(a.Code) < len(symbols) && symbols[a.Code] != "." {
		return symbols[a.Code]
	}
	return fmt.Sprint(a.Code)
}

// IsBeat says whether a heartbeat is marked.
func (a Annotation) IsBeat() bool {
	switch c := a.Code; {
	case c >= 1 && c <= 13: // N L R a V F J A S E j / Q
		return true
	case c == 25, c == 30, c == 34, c == 35, c == 38, c == 41: // B ? e n f r
		return true
	}
	return false
}

// parseAnnotations reads an annotation file: words of 16 bits, the code in the
// high six, the samples since the mark before in the low ten.
func parseAnnotations(b []byte) ([]Annotation, error) {
	var out []Annotation
	var at int64
	var num, channel int8 // hold from where they are set
	for i := 0; i+2 <= len(b); {
		word := binary.LittleEndian.Uint16(b[i:])
		start, code, n := i, uint8(word>>10), int(word&0x3ff)
		i += 2
		if code == 0 && n == 0 {
			return out, nil
		}
		if code >= codeNum && len(out) == 0 {
			return nil, fmt.Errorf("byte %d: code %d belongs to no annotation", start, code)
		}
		switch code {
		case codeSkip:
			if i+4 > len(b) {
				return nil, fmt.Errorf("byte %d: a skip that ends early", start)
			}
			// Four bytes, the high half first, each half low byte first.
			at += int64(int32(uint32(binary.LittleEndian.Uint16(b[i:]))<<16 | uint32(binary.LittleEndian.Uint16(b[i+2:]))))
			i += 4
		case codeNum:
			num = int8(n)
			out[len(out)-1].Num = num
		case codeSub:
			out[len(out)-1].Sub = int8(n)
		case codeChan:
			channel = int8(n)
			out[len(out)-1].Chan = channel
		case codeAux:
			if i+n > len(b) {
				return nil, fmt.Errorf("byte %d: a text that ends early", start)
			}
			out[len(out)-1].Aux = strings.TrimRight(string(b[i:i+n]), "\x00")
			i += n + n%2
		default:
			at += int64(n)
			if at < 0 || (len(out) > 0 && at < out[len(out)-1].Sample) {
				return nil, fmt.Errorf("byte %d: an annotation before the one before it", start)
			}
			out = append(out, Annotation{Sample: at, Code: code, Num: num, Chan: channel})
		}
	}
	return nil, fmt.Errorf("byte %d: the end mark is missing", len(b))
}
