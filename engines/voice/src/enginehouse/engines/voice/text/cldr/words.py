"""Words of languages that neither CLDR nor the voices have: signs, powers, ranges, addresses, Roman numerals."""

from __future__ import annotations

from enginehouse.engines.voice.text.normalization.tables import table

MINUS = table(
    """
    es = menos | fr = moins | de = minus | it = meno | pt = menos | nl = min | ru = минус | uk = мінус | be = мінус
    pl = minus | cs = minus | sk = mínus | ro = minus | hu = mínusz | el = μείον | bg = минус | sr = минус
    mk = минус
    hr = minus | sl = minus | bs = minus | sv = minus | da = minus | nb = minus | no = minus | fi = miinus
    et = miinus
    lt = minus | lv = mīnus | tr = eksi | az = mənfi | ca = menys | gl = menos | eu = minus | id = minus
    ms = negatif
    vi = âm | sw = hasi | hi = माइनस | mr = उणे | ne = माइनस | bn = মাইনাস | gu = માઈનસ | pa = ਮਨਫ਼ੀ | or = ମାଇନସ
    ta = மைனஸ்
    kn = ಮೈನಸ್ | ml = മൈനസ് | si = ඍණ | ar = سالب | fa = منفی | ur = منفی | he = מינוס | th = ลบ | ja = マイナス
    ko = 마이너스 | zh = 负 | cmn = 负 | af = minus | is = mínus | ka = მინუს | hy = մինուս | eo = minus
    """
)
"""The sign of a negative number: most voices leave it out."""
TO = table(
    """
    es = a | fr = à | de = bis | it = a | pt = a | nl = tot | ru = до | uk = до | pl = do | cs = až | sk = až
    ro = la
    el = έως | bg = до | sr = до | hr = do | sl = do | sv = till | da = til | nb = til | no = til | ca = a | gl = a
    id = sampai | ms = hingga | vi = đến | sw = hadi | hi = से | mr = ते | ne = देखि | bn = থেকে | gu = થી
    pa = ਤੋਂ | ta = முதல்
    kn = ರಿಂದ | ml = മുതൽ | ar = إلى | fa = تا | ur = سے | he = עד | th = ถึง | ja = から | ko = 에서 | zh = 到 | cmn = 到
    af = tot | tr = ila
    """
)
"""The word between the ends of a range."""
NUMBER = table(
    """
    es = número | fr = numéro | de = Nummer | it = numero | pt = número | nl = nummer | ru = номер | uk = номер
    pl = numer | cs = číslo | sk = číslo | ro = numărul | hu = szám | el = αριθμός | bg = номер | sr = број
    hr = broj
    sv = nummer | da = nummer | nb = nummer | no = nummer | fi = numero | tr = numara | ca = número | gl = número
    id = nomor | ms = nombor | vi = số | sw = nambari | hi = नंबर | mr = क्रमांक | ne = नम्बर | bn = নম্বর
    gu = નંબર | pa = ਨੰਬਰ
    ta = எண் | kn = ನಂಬರ್ | ml = നമ്പർ | ar = رقم | fa = شماره | ur = نمبر | he = מספר | th = หมายเลข | ja = ナンバー
    ko = 번호 | zh = 第 | cmn = 第
    """
)
"""The word for the sign before a number."""
POWERS = table(
    """
    es = al cuadrado, al cubo, elevado a | fr = au carré, au cube, puissance | de = hoch 2, hoch 3, hoch
    it = al quadrato, al cubo, elevato a | pt = ao quadrado, ao cubo, elevado a
    nl = in het kwadraat, tot de derde, tot de macht | ru = в квадрате, в кубе, в степени
    uk = у квадраті, у кубі, у степені | pl = do kwadratu, do sześcianu, do potęgi
    cs = na druhou, na třetí, na | sv = i kvadrat, i kubik, upphöjt till | ca = al quadrat, al cub, elevat a
    ro = la pătrat, la cub, la puterea | id = kuadrat, kubik, pangkat | vi = bình phương, lập phương, mũ
    tr = kare, küp, üzeri | hi = का वर्ग, का घन, की घात | mr = चा वर्ग, चा घन, चा घात | bn = এর বর্গ, এর ঘন, এর ঘাত
    gu = નો વર્ગ, નો ઘન, ની ઘાત | ta = ஸ்கொயர், க்யூப், அடுக்கு | kn = ವರ್ಗ, ಘನ, ಘಾತ | ml = സ്ക്വയർ, ക്യൂബ്, ഘാതം
    ar = تربيع, تكعيب, أس | fa = به توان 2, به توان 3, به توان | ur = مربع, مکعب, کی طاقت
    el = στο τετράγωνο, στον κύβο, στη δύναμη
    ja = の2乗, の3乗, の指数 | zh = 的平方, 的立方, 的指数 | cmn = 的平方, 的立方, 的指数 | ko = 제곱, 세제곱, 의 지수
    """
)
"""The words for squared, cubed, and to the power of."""
FRACTIONS = table(
    """
    es = sobre, un medio, un cuarto, tres cuartos, un tercio, dos tercios
    fr = sur, un demi, un quart, trois quarts, un tiers, deux tiers
    de = durch, ein halb, ein Viertel, drei Viertel, ein Drittel, zwei Drittel
    it = fratto, un mezzo, un quarto, tre quarti, un terzo, due terzi
    pt = sobre, um meio, um quarto, três quartos, um terço, dois terços
    nl = gedeeld door, een half, een kwart, drie kwart, een derde, twee derde
    ru = дробь, одна вторая, одна четвёртая, три четвёртых, одна третья, две третьих
    hi = बटा, आधा, एक चौथाई, तीन चौथाई, एक तिहाई, दो तिहाई | mr = छेद, अर्धा, पाव, पाऊण, एक तृतीयांश, दोन तृतीयांश
    ta = கீழ், அரை, கால், முக்கால், மூன்றில் ஒன்று, மூன்றில் இரண்டு
    ar = على, نصف, ربع, ثلاثة أرباع, ثلث, ثلثان
    pl = przez, jedna druga, jedna czwarta, trzy czwarte, jedna trzecia, dwie trzecie
    """
)
"""The word of a fraction's bar; then a half, a quarter, three quarters, a third and two thirds."""
ADDRESS_NAMES = table(
    """
    es = punto, barra, guion, guion bajo, arroba | fr = point, slash, tiret, tiret bas, arobase
    de = Punkt, Schrägstrich, Strich, Unterstrich, ät | it = punto, barra, trattino, trattino basso, chiocciola
    pt = ponto, barra, hífen, sublinhado, arroba | nl = punt, schuine streep, streepje, laag streepje, apenstaartje
    ru = точка, слэш, дефис, подчёркивание, собака | uk = крапка, слеш, дефіс, підкреслення, собака
    pl = kropka, ukośnik, myślnik, podkreślnik, małpa | hi = डॉट, स्लैश, डैश, अंडरस्कोर, ऐट
    mr = डॉट, स्लॅश, डॅश, अंडरस्कोर, ऍट
    bn = ডট, স্ল্যাশ, ড্যাশ, আন্ডারস্কোর, অ্যাট | ta = டாட், ஸ்லாஷ், டேஷ், அண்டர்ஸ்கோர், அட்
    kn = ಡಾಟ್, ಸ್ಲ್ಯಾಶ್, ಡ್ಯಾಶ್, ಅಂಡರ್‌ಸ್ಕೋರ್, ಅಟ್
    ml = ഡോട്ട്, സ്ലാഷ്, ഡാഷ്, അണ്ടർസ്കോർ, അറ്റ് | gu = ડોટ, સ્લેશ, ડેશ, અન્ડરસ્કોર, એટ
    ar = نقطة, شرطة مائلة, شرطة, شرطة سفلية, آت
    tr = nokta, eğik çizgi, tire, alt çizgi, et | sv = punkt, snedstreck, bindestreck, understreck, snabel-a
    """
)
"""The names of the dot, slash, hyphen, underscore and at sign of an address."""
MONEY = table(
    """
    es = dólar, dólares; euro, euros; rupia, rupias; libra, libras; yen, yenes
    fr = dollar, dollars; euro, euros; roupie, roupies; livre, livres; yen, yens
    de = Dollar, Dollar; Euro, Euro; Rupie, Rupien; Pfund, Pfund; Yen, Yen
    it = dollaro, dollari; euro, euro; rupia, rupie; sterlina, sterline; yen, yen
    pt = dólar, dólares; euro, euros; rupia, rupias; libra, libras; iene, ienes
    nl = dollar, dollar; euro, euro; roepie, roepie; pond, pond; yen, yen
    hi = डॉलर, डॉलर; यूरो, यूरो; रुपया, रुपये; पाउंड, पाउंड; येन, येन
    mr = डॉलर, डॉलर; युरो, युरो; रुपया, रुपये; पाउंड, पाउंड; येन, येन
    ta = டாலர், டாலர்; யூரோ, யூரோ; ரூபாய், ரூபாய்; பவுண்டு, பவுண்டு; யென், யென்
    kn = ಡಾಲರ್, ಡಾಲರ್; ಯೂರೋ, ಯೂರೋ; ರೂಪಾಯಿ, ರೂಪಾಯಿ; ಪೌಂಡ್, ಪೌಂಡ್; ಯೆನ್, ಯೆನ್
    ml = ഡോളർ, ഡോളർ; യൂറോ, യൂറോ; രൂപ, രൂപ; പൗണ്ട്, പൗണ്ട്; യെൻ, യെൻ
    bn = ডলার, ডলার; ইউরো, ইউরো; টাকা, টাকা; পাউন্ড, পাউন্ড; ইয়েন, ইয়েন
    gu = ડોલર, ડોલર; યુરો, યુરો; રૂપિયો, રૂપિયા; પાઉન્ડ, પાઉન્ડ; યેન, યેન
    """
)
"""Currencies as people call them, one and many: dollar, euro, rupee, pound, yen. CLDR's names say the country."""
PERCENT = {"ar": "بالمائة", "fa": "درصد", "ur": "فیصد", "he": "אחוז"}
"""The percent sign, where CLDR has no word for it."""
SCALES = (
    "lakhs?|crores?|millions?|billions?|trillions?|लाख|करोड़|करोड़|हज़ार|हज़ार|हजार|अरब|कोटी|லட்சம்|கோடி"
    "|ஆயிரம்|লাখ|লক্ষ|কোটি|হাজার"
    "|લાખ|કરોડ|હજાર|ಲಕ್ಷ|ಕೋಟಿ|ಸಾವಿರ|ലക്ഷം|കോടി|ആയിരം|mil millones|mil|mill[oó]n|millones|billones|mille"
    "|milliards?|Millionen|Million"
    "|Mio\\.?|Milliarden|Milliarde|Mrd\\.?|Tausend|mila|milioni|milione|miliardi|miliardo|milh[oõ]es"
    "|milhão|bilhões|bilhão"
    "|тыс\\.|млн\\.?|млрд\\.?|тысяч[иа]?|миллион(?:а|ов)?|миллиард(?:а|ов)?|ألف|آلاف|مليون|ملايين|مليار"
    "|tys\\.|mln|mld|miljoen|miljard"
    "|万|亿|億|만|억"
)
"""A regular expression for the words of scales, which stand between a number and its currency's name."""
OF_MONEY = {"es": "de", "fr": "de", "pt": "de", "it": "di", "ca": "de", "ro": "de", "gl": "de"}
"""The word between millions and what they are of."""
SHARP = table(
    """
    hi = शार्प | mr = शार्प | ta = ஷார்ப் | kn = ಶಾರ್ಪ್ | ml = ഷാർപ്പ് | bn = শার্প | gu = શાર્પ | ar = شارب
    ru = шарп | uk = шарп
    """
)
"""The name of the sign in "C#"; elsewhere the English one."""
PLUS = table(
    """
    es = más | fr = plus | de = plus | it = più | pt = mais | nl = plus | hi = प्लस | mr = प्लस | ta = பிளஸ்
    ru = плюс | uk = плюс | pl = plus | ar = زائد
    """
)
"""The plus sign."""
NUMBERED = table(
    """
    es = siglo, capítulo, tomo, acto, escena, parte, volumen, Guerra Mundial, apartado, título, Juan Pablo, fase
    fr = siècle, chapitre, tome, acte, scène, partie, volume, Guerre mondiale, titre, Jean-Paul, phase
    de = Kapitel, Band, Akt, Teil, Abschnitt, Weltkrieg, Szene, Phase
    it = secolo, capitolo, tomo, atto, scena, parte, volume, guerra mondiale, titolo, fase
    pt = século, capítulo, tomo, ato, cena, parte, volume, Guerra Mundial, título, fase
    ru = глава, том, часть, акт, раздел, сцена | nl = hoofdstuk, deel, akte, bedrijf
    """
)
"""Words before a Roman numeral that is a cardinal number."""
REIGNED = (
    "Alfonso|Amadeo|Benito|Carlos|Felipe|Fernando|Francisco|Enrique|Isabel|Jaime|Juan|Juan Pablo|Luis|Pedro"
    "|Pío|Jorge|Sancho|Ramiro|Manuel"
    "|Louis|Henri|Charles|François|Philippe|Napoléon|Jean|Jean-Paul|Édouard|Élisabeth|Guillaume|Pie|Benoît|Catherine"
    "|Ludwig|Friedrich|Wilhelm|Heinrich|Karl|Otto|Elisabeth|Johannes|Benedikt|Josef|Leopold|Katharina"
    "|Carlo|Enrico|Federico|Filippo|Luigi|Pio|Umberto|Vittorio|Giovanni|Elisabetta|Benedetto|Paolo"
    "|João|Afonso|Dinis|Henrique|Sebastião|Filipe|Luís|Isabel|Paulo"
)
"""Names of rulers in languages of Latin letters."""
