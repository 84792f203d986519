package jsonata_test

import (
	"fmt"
	"time"

	"segment-saasquatch/mapping/jsonata"
)

func ExampleExpression_Eval() {
	expression, err := jsonata.Compile(`event = "Order Completed" ? "ALWAYS" : "MISSING_USER"`)
	if err != nil {
		fmt.Println(err)
		return
	}
	output, defined, err := expression.Eval([]byte(`{"event":"Order Completed"}`), time.Now(), nil)
	fmt.Println(string(output), defined, err)
	// Output: "ALWAYS" true <nil>
}

func ExampleCompile() {
	_, err := jsonata.Compile(`traits.[trait2`)
	fmt.Println(err)
	// Output: compile expression: character 14: Expected "]" before end of expression (S0203)
}
