// SPDX-License-Identifier: MIT
#include "save_file.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace evnf::fw::iptables {

namespace {

constexpr std::string_view kBlanks = " \t\r";

std::string_view trimmed(std::string_view text)
{
    const auto begin = text.find_first_not_of(kBlanks);
    if (begin == std::string_view::npos) return {};
    return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

/// Takes a line apart; a backslash in quotes takes the next character as it is.
class Words {
public:
    Words(std::string_view text, std::size_t line) : rest_{text}, line_{line} {}

    std::vector<Word> all()
    {
        std::vector<Word> words;
        for (rest_ = trimmed(rest_); !rest_.empty(); rest_ = trimmed(rest_)) words.push_back(next());
        return words;
    }

private:
    Word next()
    {
        Word word;
        while (!rest_.empty() && kBlanks.find(rest_.front()) == std::string_view::npos) {
            if (rest_.front() == '"') {
                word.quoted = true;
                take_quoted(word.text);
            } else {
                word.text += rest_.front();
                rest_.remove_prefix(1);
            }
        }
        return word;
    }

    void take_quoted(std::string& to)
    {
        for (rest_.remove_prefix(1); !rest_.empty() && rest_.front() != '"'; rest_.remove_prefix(1)) {
            if (rest_.front() == '\\' && rest_.size() > 1) rest_.remove_prefix(1);
            to += rest_.front();
        }
        if (rest_.empty()) throw FileError{line_, "a quotation mark is not closed"};
        rest_.remove_prefix(1);
    }

    std::string_view rest_;
    std::size_t line_;
};

/// "[12:3456] -A …" as iptables-save -c writes it.
std::string_view without_counters(std::string_view text)
{
    if (!text.starts_with('[')) return text;
    const auto end = text.find(']');
    return end == std::string_view::npos ? text : trimmed(text.substr(end + 1));
}

class Reader {
public:
    std::vector<Table> read(std::istream& in)
    {
        std::string line;
        while (std::getline(in, line)) {
            ++line_;
            const auto text = trimmed(line);
            if (!text.empty() && !text.starts_with('#')) take(text);
        }
        if (in.bad()) throw FileError{line_, "cannot be read"};
        if (open_) fail(fmt::format("the file ends in table {}, before its COMMIT", tables_.back().name));
        if (tables_.empty()) throw FileError{0, "has no table: it is not what iptables-save writes"};
        return std::move(tables_);
    }

private:
    [[noreturn]] void fail(const std::string& message) const { throw FileError{line_, message}; }

    void take(std::string_view text)
    {
        if (text.starts_with('*')) return begin_table(text.substr(1));
        if (!open_) fail("must begin a table: *filter");
        if (text == "COMMIT")
            open_ = false;
        else if (text.starts_with(':'))
            declare(text.substr(1));
        else
            append(without_counters(text));
    }

    void begin_table(std::string_view name)
    {
        if (open_) fail(fmt::format("table {} has no COMMIT", tables_.back().name));
        if (std::any_of(tables_.begin(), tables_.end(), [&](const Table& table) { return table.name == name; }))
            fail(fmt::format("there is a table {} already", name));
        tables_.push_back({std::string{name}, {}});
        open_ = true;
    }

    Chain* find(std::string_view name)
    {
        auto& chains = tables_.back().chains;
        const auto found = std::find_if(chains.begin(), chains.end(), [&](const Chain& chain) { return chain.name == name; });
        return found == chains.end() ? nullptr : &*found;
    }

    void declare(std::string_view text)
    {
        const auto words = Words{text, line_}.all();
        if (words.size() < 2 || words.size() > 3) fail("must be a chain, its policy and counters: ':FORWARD DROP [0:0]'");
        if (words[1].text != "ACCEPT" && words[1].text != "DROP" && words[1].text != "-")
            fail(fmt::format("a policy is ACCEPT, DROP or -, not '{}'", words[1].text));
        if (find(words[0].text)) fail(fmt::format("there is a chain {} already", words[0].text));
        tables_.back().chains.push_back({words[0].text, words[1].text, {}});
    }

    void append(std::string_view text)
    {
        auto words = Words{text, line_}.all();
        if (words.size() < 2 || (words[0].text != "-A" && words[0].text != "--append"))
            fail("must be a rule: '-A CHAIN …'");
        Chain* chain = find(words[1].text);
        if (!chain) fail(fmt::format("there is no chain {} in table {}", words[1].text, tables_.back().name));
        SavedRule rule{line_, std::string{text}, chain->name, chain->rules.size() + 1, {}};
        rule.words.assign(std::make_move_iterator(words.begin() + 2), std::make_move_iterator(words.end()));
        chain->rules.push_back(std::move(rule));
    }

    std::vector<Table> tables_;
    std::size_t line_ = 0;
    bool open_ = false;
};

} // namespace

const Chain* Table::chain(std::string_view wanted) const
{
    const auto found = std::find_if(chains.begin(), chains.end(), [&](const Chain& chain) { return chain.name == wanted; });
    return found == chains.end() ? nullptr : &*found;
}

std::vector<Table> read_save_file(std::istream& in)
{
    return Reader{}.read(in);
}

} // namespace evnf::fw::iptables
