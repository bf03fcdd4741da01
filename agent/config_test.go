package agent

import (
	"fmt"
	"strings"
	"testing"

	"wardline/agent/internal/ward"
)

func TestAWardsLimitsAreToldOnceAndABedsOwnBesideThem(t *testing.T) {
	c := testConfig(t.TempDir())
	c.Wards[0].Limits = map[string]float64{"hr.high": 125}
	c.Wards[0].Beds[1].Limits = map[string]float64{"hr.high": 140}
	x, err := c.wardConfig("gw-1")
	if err != nil {
		t.Fatal(err)
	}
	w, err := ward.New(x)
	if err != nil {
		t.Fatal(err)
	}
	told := c.topology(w)[0]
	high := func(limits interface{ String() string }) bool {
		return strings.Contains(fmt.Sprint(limits), "hr.high")
	}
	if len(told.Limits) < 5 || len(told.Beds[0].Limits) != 0 {
		t.Errorf("the ward says %v, bed 1 %v", told.Limits, told.Beds[0].Limits)
	}
	if own := told.Beds[1].Limits; len(own) != 1 || !high(own[0]) || own[0].Value != 140 {
		t.Errorf("bed 2 says %v", own)
	}
}

func TestAGatewayOfTooManyBedsIsRefusedBeforeItCannotLink(t *testing.T) {
	c := testConfig(t.TempDir())
	for n := range 3000 {
		c.Wards[0].Beds = append(c.Wards[0].Beds, Bed{Bed: fmt.Sprint(n + 10), Sensor: fmt.Sprintf("P%05d", n), Patient: fmt.Sprintf("p-%05d", n)})
		if n == 400 {
			if err := c.Check(); err != nil {
				t.Errorf("400 beds: %v", err)
			}
		}
	}
	if err := c.Check(); err == nil || !strings.Contains(err.Error(), "give some of the beds to another gateway") {
		t.Errorf("3,000 beds: %v", err)
	}
}
