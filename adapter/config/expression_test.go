package config

import "testing"

// TestExpressions reads expressions in several YAML styles and prints them so that they can be read again.
func TestExpressions(t *testing.T) {
	c := mustLoad(t, yamlSource(`
users:
  identify: false
  segments: '[traits.trait2, "hardcoded"]'
  invalid_segments: sanitize
  from_track: >-
    event = "Order Completed"
    ? "ALWAYS" : "MISSING_USER"
  from_track_body: |
    {
      "email": context.traits.email,	/* a tab */
      "locale": context.locale
    }
events:
  transform: "$merge([$, {\"key\": \"k\"}])"
`))
	if err := c.ValidateMapping(); err != nil {
		t.Error(err)
	}
	rules := c.Connections[0].Mapping
	for _, test := range []struct{ got, want string }{
		{rules.Segments, `[traits.trait2, "hardcoded"]`},
		{string(rules.InvalidSegments), "sanitize"},
		{rules.FromTrack, `event = "Order Completed" ? "ALWAYS" : "MISSING_USER"`},
		{rules.FromTrackBody, "{\n  \"email\": context.traits.email,\t/* a tab */\n  \"locale\": context.locale\n}\n"},
		{rules.Transform, `$merge([$, {"key": "k"}])`},
	} {
		if test.got != test.want {
			t.Errorf("got %q, want %q", test.got, test.want)
		}
	}
	if rules.Identify {
		t.Error("users.identify is still on")
	}
	checkRoundTrip(t, c)
}
