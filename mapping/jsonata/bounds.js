// Bounds where the reference implementation uses as much memory as there is. The script runs in strict mode, once in
// each runtime. It returns the functions that Go calls: compile and undefinedFunction.
(function (limits) {
    var spent = 0; // UTF-16 code units of text that the current evaluation has made
    var steps = 0; // nodes of the expression that it has evaluated

    // made counts text. limits.tooLarge interrupts the runtime, which no catch can stop.
    function made(length) {
        spent += length;
        if (spent > limits.text) {
            limits.tooLarge();
        }
    }

    // step runs before the reference evaluates a node.
    function step() {
        if (++steps > limits.steps) {
            limits.tooLong();
        }
    }

    var concat = String.prototype.concat;
    String.prototype.concat = function (other) {
        made(this.length + String(other).length);
        return concat.apply(this, arguments);
    };

    var concatArrays = Array.prototype.concat;
    Array.prototype.concat = function (other) {
        if (this.length + (Array.isArray(other) ? other.length : 1) > limits.array) {
            limits.tooLarge();
        }
        return concatArrays.apply(this, arguments);
    };

    var join = Array.prototype.join;
    Array.prototype.join = function (separator) {
        made(this.length * (separator === undefined ? 1 : String(separator).length));
        var length = 0;
        for (var i = 0; i < this.length; i++) {
            if (typeof this[i] === 'string') {
                length += this[i].length;
            }
        }
        made(length);
        return join.call(this, separator);
    };

    // A few nested arrays that share their elements are exponential as text.
    var stringify = JSON.stringify;
    JSON.stringify = function (value, replacer, space) {
        return stringify(value, function (key, item) {
            if (typeof replacer === 'function') {
                item = replacer.call(this, key, item);
            }
            made(key.length + (typeof item === 'string' ? item.length : 4));
            return item;
        }, space);
    };

    var NativeArray = Array;
    function BoundedArray(length) {
        if (arguments.length === 1 && typeof length === 'number' && length > limits.array) {
            limits.tooLarge();
        }
        return NativeArray.apply(null, arguments);
    }
    BoundedArray.prototype = NativeArray.prototype;
    BoundedArray.isArray = NativeArray.isArray;
    BoundedArray.from = NativeArray.from;
    BoundedArray.of = NativeArray.of;
    globalThis.Array = BoundedArray;

    // Without a zone, JavaScript takes the machine's.
    var parse = Date.parse;
    Date.parse = function (timestamp) {
        return parse(/T\d\d:\d\d:\d\d(\.\d+)?$/.test(timestamp) ? timestamp + 'Z' : timestamp);
    };

    // The reference takes base64 from the browser or from Node.js.
    globalThis.window = {btoa: limits.btoa, atob: limits.atob};

    // RegexEngine is a regular expression for the reference. No interrupt ends a match, so each match has its bound.
    function RegexEngine(value) {
        var native = new RegExp(value);
        var source = value.source;
        var cost = limits.cost(source); // 0 for one that needs backtracking
        this.lastIndex = 0;
        this.exec = function (text) {
            text = String(text);
            if (cost > 0 && this.lastIndex === 0) {
                if (text.length * cost > limits.match) {
                    limits.tooLong();
                }
                native.lastIndex = 0;
                var found = native.exec(text);
                this.lastIndex = native.lastIndex;
                return found;
            }
            var spans = limits.backtrack(source, value.ignoreCase, value.multiline, text, this.lastIndex);
            this.lastIndex = spans ? spans[1] : 0;
            return spans && matchOf(text, spans);
        };
    }

    // matchOf returns the result of RegExp.prototype.exec for the start and end of a match and of its groups; -1 means
    // that a group has no part in the match.
    function matchOf(text, spans) {
        var match = [];
        for (var i = 0; i < spans.length; i += 2) {
            match.push(spans[i] < 0 ? undefined : text.substring(spans[i], spans[i + 1]));
        }
        match.index = spans[0];
        return match;
    }

    // No expression may change the runtime for the next one.
    [Object, NativeArray, String, Number, Boolean, Function, RegExp, Date, Error].forEach(function (type) {
        Object.preventExtensions(type.prototype);
    });

    function compile(source) {
        spent = steps = 0;
        var expression = jsonata(source, {stack: limits.depth, RegexEngine: RegexEngine});
        expression.assign(Symbol.for('jsonata.__evaluate_entry'), step);
        return function (input) {
            spent = steps = 0;
            return expression.evaluate(input);
        };
    }

    // nodes returns all objects of a syntax tree. It does not recurse: a tree may be as deep as its source.
    function nodes(root) {
        var found = new Set([root]);
        found.forEach(function (node) { // also visits nodes added meanwhile
            Object.keys(node).forEach(function (name) {
                if (node[name] !== null && typeof node[name] === 'object') {
                    found.add(node[name]);
                }
            });
        });
        return found;
    }

    // undefinedFunction returns the name of a called function that neither JSONata nor the expression defines; '' if
    // there is none.
    function undefinedFunction(source) {
        var all = nodes(jsonata(source, {stack: limits.depth}).ast());
        var defined = new Set();
        all.forEach(function (node) {
            if (node.type === 'bind') {
                defined.add(node.lhs.value);
            }
            if (node.type === 'lambda') {
                node.arguments.forEach(function (argument) { defined.add(argument.value); });
            }
            defined.add(node.focus).add(node.index); // of @$focus and #$index
        });
        var missing = '';
        all.forEach(function (node) {
            var called = node.type === 'function' || node.type === 'partial' ? node.procedure : undefined;
            if (missing || !called || called.type !== 'variable' || !called.value || defined.has(called.value)) {
                return;
            }
            if (compile('$' + called.value)()) {
                defined.add(called.value);
            } else {
                missing = called.value;
            }
        });
        return missing;
    }

    return {compile: compile, undefinedFunction: undefinedFunction};
})
