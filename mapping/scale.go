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

// maxScaledText bounds the literal of a number to multiply, in bytes.
const maxScaledText = 64

// appendScaled appends the number in text times scale, exactly. It returns false if the literal is too long, or its
// exponent is beyond ±100 000 (apd.MaxExponent).
func appendScaled(dst, text []byte, scale *apd.Decimal) ([]byte, bool) {
	if len(text) > maxScaledText {
		return dst, false
	}
	var product apd.Decimal
	if _, _, err := product.SetString(string(text)); err != nil {
		return dst, false
	}
	// The product of the coefficients and the sum of the exponents are exact. An apd.Context would round to its
	// precision.
	product.Coeff.Mul(&product.Coeff, &scale.Coeff)
	product.Exponent += scale.Exponent
	product.Reduce(&product)
	format := byte('G')
	if 0 < product.Exponent && product.Exponent <= maxIntegerDigits {
		format = 'f'
	}
	return product.Append(dst, format), true
}
