package mapping

import (
	"fmt"

	"github.com/cockroachdb/apd/v3"
)

// parseScale reads revenue_scale. It returns nil for 1, which scales nothing.
func parseScale(text string) (*apd.Decimal, error) {
	scale, _, err := apd.NewFromString(text)
	if err != nil || scale.Form != apd.Finite || scale.Sign() <= 0 {
		return nil, fmt.Errorf("is %q: use a decimal number above 0, such as 1, 100 or 0.01", text)
	}
	if scale.Exponent > 9 || scale.Exponent < -9 || scale.NumDigits() > 18 {
		return nil, fmt.Errorf("is %q: use at most 18 digits and an exponent from -9 to 9", text)
	}
	if scale.Cmp(apd.New(1, 0)) == 0 {
		return nil, nil
	}
	return scale, nil
}
