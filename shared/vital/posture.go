package vital

// PostureCode is the value of a Posture reading. The numbers are written to
// disk and to the link: append, never renumber.
type PostureCode uint8

// The postures a patch can tell apart.
const (
	Supine         PostureCode = 1
	Prone          PostureCode = 2
	LeftSide       PostureCode = 3
	RightSide      PostureCode = 4
	Upright        PostureCode = 5
	Reclining      PostureCode = 6
	LeaningForward PostureCode = 7
	InclinedLeft   PostureCode = 8
	InclinedRight  PostureCode = 9
	UpsideDown     PostureCode = 10
)

var postures = [...]string{
	Supine: "supine", Prone: "prone", LeftSide: "left", RightSide: "right", Upright: "upright",
	Reclining: "reclining", LeaningForward: "leaning_forward",
	InclinedLeft: "inclined_left", InclinedRight: "inclined_right", UpsideDown: "upside_down",
}

// String is the posture's name in rules, JSON and the API; "" for none.
func (p PostureCode) String() string {
	if int(p) >= len(postures) {
		return ""
	}
	return postures[p]
}

// PostureByName finds a posture by its name.
func PostureByName(name string) (PostureCode, bool) {
	for i, n := range postures {
		if n == name && n != "" {
			return PostureCode(i), true
		}
	}
	return 0, false
}
