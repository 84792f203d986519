package mapping_test

import (
	"testing"

	"segment-saasquatch/mapping"
)

// TestSpaceAroundTheEventChangesNothing checks that leading white space, which RFC 8259 allows, does not hide the
// account.
func TestSpaceAroundTheEventChangesNothing(t *testing.T) {
	rules := mapping.DefaultRules()
	rules.AccountID = []string{"groupId", "userId"}
	mapper, err := mapping.New(rules)
	if err != nil {
		t.Fatal(err)
	}
	const event = `{"type":"track","userId":"u","event":"e","messageId":"12345678","groupId":"g"}`
	for _, space := range []string{"", " ", "\r\n\t "} {
		result := mapper.Map([]byte(space+event+space), goldenNow)
		if result.UserEvent.AccountID != "g" {
			t.Errorf("after %q: account %q, %s", space, result.UserEvent.AccountID, result.Reason)
		}
	}
}
