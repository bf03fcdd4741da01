package api

import "wardline/shared/alert"

// Standing is what the cloud knows of an alert beyond its fold.
type Standing struct {
	Version   uint64 // rises with every change
	AtGateway bool   // the gateway has confirmed the newest response
	Page      bool   // a screen sounds for it
}

// NewAlert writes an alert in the form that people's programs read, as it stands
// at now (µs UTC).
func NewAlert(a alert.Alert, s Standing, now int64) Alert {
	c := a.Condition
	out := Alert{
		ID: string(a.ID), Ward: c.Ward, Bed: c.Bed,
		Kind: string(c.Kind), Priority: c.Priority.String(), Marks: c.Priority.Marks(),
		Text: c.Text, Rule: c.Rule, Code: c.Code,
		Onset: c.Onset, RaisedAt: a.RaisedAt, EndedAt: a.EndedAt, Phase: string(a.Phase),
		Late: a.Late, Latch: c.Latch, Open: a.Open(), Worst: a.Worst.String(), EndText: a.EndText,
		Gateway: c.Gateway, Sensor: c.Sensor,
		Evidence: make([]Evidence, 0, len(c.Evidence)), Comments: make([]Comment, 0, len(a.Comments)),
		Previous: string(c.Previous), AtGateway: s.AtGateway, Version: s.Version, Page: s.Page,
	}
	for _, e := range c.Evidence {
		out.Evidence = append(out.Evidence, Evidence(e))
	}
	for _, c := range a.Comments {
		out.Comments = append(out.Comments, Comment{By: c.By, At: c.At, Text: c.Text})
	}
	if x, ok := a.Ack(now); ok {
		out.Ack = &Ack{By: x.By, At: x.At, Until: x.Until, Via: x.Via}
	}
	if x := a.Responsibility(); x.Type != "" {
		out.Responsibility = &Responsibility{Type: string(x.Type), By: x.By, At: x.At}
	}
	if x := a.Resolution(); x.Type != "" {
		out.Resolution = &Resolution{By: x.By, At: x.At, Text: x.Text}
	}
	return out
}
