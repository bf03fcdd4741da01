package config

import (
	"strings"
	"testing"
	"time"
)

type sample struct {
	Data  string   `yaml:"data"`
	Every Duration `yaml:"every"`
	Size  Bytes    `yaml:"size"`
	Count int      `yaml:"count"`
	Yes   bool     `yaml:"yes"`
	Beds  []struct {
		Bed    string `yaml:"bed"`
		Sensor string `yaml:"sensor"`
	} `yaml:"beds"`
}

func TestWhatNothingReadsIsAnErrorThatSaysWhatWasMeant(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"dta: x", `line 1, column 1: there is no key "dta"; is data meant?`},
		{"data: x\nbeds:\n  - bed: a\n    senser: b", `line 4, column 5: there is no key "senser"; is sensor meant?`},
		{"zzzz: 1", `line 1, column 1: there is no key "zzzz"`},
		{"every: soon", `"soon" is not a duration`},
		{"every: -1s", `"-1s" is not a duration`},
		{"size: 12 cows", `"12 cows" is not a size`},
		{"beds:\n  - bed: 013", `line 2, column 10: 013 would not be read as it is written: put it in quotes, "013"`},
		{"data: 0x1F", `put it in quotes`}, {"data: 0o17", `put it in quotes`}, {"data: 1_0", `put it in quotes`}, {"data: 0b1", `put it in quotes`},
		{"beds: 3", `line 1, column 7: a list is wanted here, not a number`},
		{"count: many", `line 1, column 8: a number is wanted here, not "many"`},
		{"yes: 3", `line 1, column 6: true or false is wanted here, not "3"`},
		{"beds:\n  - a", `line 2, column 5: a mapping of keys to values is wanted here, not text`},
		{"beds:\n\t- bed: a", `tab (use spaces)`},
		{"data: [", "line 1"},
	} {
		err := Decode([]byte(c.text), new(sample))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Decode(%q) fails with %v, want %q", c.text, err, c.want)
		}
	}
}

func TestAGoodTextIsRead(t *testing.T) {
	var s sample
	if err := Decode([]byte("data: /x\nevery: 90s\nsize: 2 GiB\nbeds:\n  - {bed: '013', sensor: s} # or 0x1F\n  - bed: 08\n    sensor: 12\n"), &s); err != nil {
		t.Fatal(err)
	}
	if s.Data != "/x" || s.Every.Or(1) != 90*time.Second || s.Size != 2<<30 || len(s.Beds) != 2 || s.Beds[0].Bed != "013" || s.Beds[1].Bed != "08" || s.Beds[1].Sensor != "12" {
		t.Errorf("read %+v", s)
	}
	if err := Decode([]byte("# nothing yet\n"), new(sample)); err != nil {
		t.Errorf("an empty text: %v", err)
	}
	if Duration(0).Or(time.Second) != time.Second {
		t.Error("zero is not the default")
	}
}

func TestSizesAreReadOrRefused(t *testing.T) {
	for text, want := range map[string]Bytes{"0": 0, "17": 17, "3KiB": 3 << 10, " 4 MiB ": 4 << 20, "2GiB": 2 << 30} {
		var n Bytes
		if err := n.UnmarshalText([]byte(text)); err != nil || n != want {
			t.Errorf("%q is %d, %v; want %d", text, n, err, want)
		}
	}
	for _, text := range []string{"", "x", "-1", "1.5GiB", "99999999999GiB", "GiB"} {
		if err := new(Bytes).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was read", text)
		}
	}
}

func TestAVariableOfOursThatNothingReadsIsAnError(t *testing.T) {
	env := []string{"PATH=/bin", "WARDLINE_CONFIG=x"}
	if err := Environment(env, "WARDLINE_CONFIG"); err != nil {
		t.Error(err)
	}
	err := Environment(append(env, "WARDLINE_CONFG=y"), "WARDLINE_CONFIG")
	if err == nil || !strings.Contains(err.Error(), "is WARDLINE_CONFIG meant?") {
		t.Errorf("a mistyped variable: %v", err)
	}
}
